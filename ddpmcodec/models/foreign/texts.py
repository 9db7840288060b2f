"""Text encoders of a pipeline's folder: run by the pipeline's own code, once a prompt.

transformers, an optional extra, is imported only here.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpmcodec.errors import ModelError
from ddpmcodec.models.foreign.folder import error_line

ENCODERS = frozenset({"CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"})
TOKENIZERS = frozenset({"CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast"})
_NAMES = tuple(f"{part}{number}" for part in ("text_encoder", "tokenizer") for number in ("", "_2", "_3"))
PATTERNS = ("model_index.json", *(f"{name}/*" for name in _NAMES))


class TextEncoders(nn.Module):
    """Encoders and tokenizers of a pipeline; a prompt is encoded as the pipeline does it."""

    def __init__(self, diffusers: Any, parts: dict[str, Any], options: dict[str, Any]):
        super().__init__()
        self._diffusers, self._options = diffusers, options
        self.encoders = nn.ModuleDict({name: part for name, part in parts.items() if isinstance(part, nn.Module)})
        self._tokenizers = {name: part for name, part in parts.items() if name not in self.encoders}

    @torch.inference_mode()
    def encode(self, pipeline: str, prompt: str, **options: Any) -> Any:
        """Return what the `encode_prompt` of a class of diffusers' pipelines returns, on the encoders' device."""
        import transformers

        with _quiet(transformers):
            return self._encode(pipeline, prompt, **options)

    def _encode(self, pipeline: str, prompt: str, **options: Any) -> Any:
        kind = getattr(self._diffusers, pipeline)
        taken = inspect.signature(kind.__init__).parameters
        parts = self._options | dict(self.encoders.items()) | self._tokenizers
        parts |= {"scheduler": self._diffusers.DDIMScheduler(clip_sample=False, steps_offset=1)}
        parts |= {"requires_safety_checker": False, "add_watermarker": False}
        needed = [k for k, v in taken.items() if v.default is v.empty and k != "self"]
        given = dict.fromkeys(needed) | {k: v for k, v in parts.items() if k in taken}
        device = next(self.parameters()).device
        try:
            found = kind(**given).encode_prompt(prompt, device=device, **options)
        except Exception as error:  # of any kind, from diffusers or transformers
            raise ModelError(f"{pipeline} can't encode the prompt: {error_line(error)}") from error
        return [part.float() if isinstance(part, Tensor) else part for part in found]


def load_texts(diffusers: Any, folder: Path, index: dict[str, Any], dtype: torch.dtype) -> TextEncoders:
    """Return the text encoders of a pipeline's folder. index: its model_index.json. Raises ModelError."""
    try:
        import transformers
    except ImportError as error:
        raise ModelError(
            "this model needs transformers, which is not installed: pip install 'ddpmcodec[text]'"
        ) from error
    parts = dict[str, Any]()
    for name in _NAMES:
        _, kind = index.get(name) or (None, None)
        if kind is None:
            continue
        if kind not in ENCODERS | TOKENIZERS:
            raise ModelError(
                f"{folder} has a {name} of class {kind}: expected {', '.join(sorted(ENCODERS | TOKENIZERS))}"
            )
        options = {"dtype": dtype, "use_safetensors": True} if kind in ENCODERS else {}
        try:
            with torch.random.fork_rng(devices=[]), _quiet(transformers):
                parts[name] = getattr(transformers, kind).from_pretrained(
                    folder / name, local_files_only=True, **options
                )
        except Exception as error:  # of any kind, from transformers, safetensors or tokenizers
            raise ModelError(f"{folder / name} can't be loaded; is it whole? {error_line(error)}") from error
    if not any(name.startswith("text_encoder") for name in parts):
        raise ModelError(f"{folder} has no text_encoder: expected a pipeline's folder with model_index.json")
    zeros = index.get("force_zeros_for_empty_prompt")
    return TextEncoders(diffusers, parts, {} if zeros is None else {"force_zeros_for_empty_prompt": bool(zeros)})


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep transformers from showing progress bars, and from warning of what nobody needs here (torchvision, for one);
    that a prompt is cut, diffusers says. Both are put back afterwards.
    """
    settings = transformers.utils.logging
    shown, level = settings.is_progress_bar_enabled(), settings.get_verbosity()
    settings.disable_progress_bar()
    settings.set_verbosity_error()
    try:
        yield
    finally:
        settings.set_verbosity(level)
        if shown:
            settings.enable_progress_bar()


def hash_of_texts(folder: Path, index: dict[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, of what decides how a text is read, but for the encoders' weights."""
    digest = hashlib.sha256(str(index.get("force_zeros_for_empty_prompt")).encode())
    for name in _NAMES:
        for path in sorted((folder / name).glob("*")):
            if path.is_file() and path.suffix in (".json", ".txt", ".model") and ".index." not in path.name:
                content = path.read_bytes()
                digest.update(f"\n{name}/{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
