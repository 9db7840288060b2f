"""The one part that a compiler makes, and only where there is one: everything else stands in pyproject.toml.

The extension is loaded through ctypes (ddpmcodec/numerics/native.py), so it is the same for every Python: hence the tag
abi3.
"""

import sysconfig

from setuptools import Extension, setup

ABI3 = not sysconfig.get_config_var("Py_GIL_DISABLED")  # free-threaded Pythons have no such tag

setup(
    ext_modules=[
        Extension(
            "ddpmcodec.numerics._native",
            ["ddpmcodec/numerics/native.c"],
            depends=["ddpmcodec/numerics/native_kernels.h"],
            # Sums wrap and floats round as numpy's do, whatever the processor.
            extra_compile_args=["-O3", "-fwrapv", "-ffp-contract=off", "-fvisibility=hidden"],
            py_limited_api=ABI3,
            optional=True,  # without a compiler the install succeeds, and numpy searches
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if ABI3 else {},
)
