from ddpmcodec.cli.app import app

app()
