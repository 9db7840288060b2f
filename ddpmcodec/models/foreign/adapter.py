"""Differences between networks of diffusers, behind one Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ddpmcodec.models.condition import Condition

if TYPE_CHECKING:
    from torch import Tensor, nn

Told = dict[str, "Tensor"]  # by name, one row each, for a batch to share


class Texts(Protocol):
    """Text encoders of a pipeline."""

    def encode(self, pipeline: str, prompt: str, **options: Any) -> Any:
        """Return what `encode_prompt` of a class of diffusers' pipelines does."""
        ...


class Adapter(Protocol):
    """Class of diffusers, by its configuration: a network's config.json without the entries about diffusers."""

    @property
    def kind(self) -> str:
        """Name of the class."""
        ...

    def check(self, network: dict[str, Any]) -> None:
        """Raise ModelError where a network of this configuration can't be a codec's."""
        ...

    def window(self, network: dict[str, Any]) -> int:
        """Return the side of the squares it takes."""
        ...

    def channels(self, network: dict[str, Any]) -> int:
        """Return how many channels x_t has."""
        ...

    def tell(
        self, network: dict[str, Any], condition: Condition, texts: Texts | None, factor: int
    ) -> tuple[Told, Told | None]:
        """Return what the network is told, and what it is told where nothing is said; None: it can't do without.

        factor: pixels along a side for each value of x_0.

        Raises ModelError for a condition that it can't have.
        """
        ...

    def predict(self, network: nn.Module, x: Tensor, t: Tensor, told: Told) -> Tensor:
        """Return what the network predicts of x (n, c, h, w) at its own times (n,); learned variances may follow."""
        ...
