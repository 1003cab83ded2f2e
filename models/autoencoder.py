"""The autoencoder: a recurrent layer, the subspace head and the decoder, for fields `(B, T, C, H, W)`.

The embedding `(B, T, D)` is all that the decoder sees. One autoencoder belongs to one grid. With a forecast head the
embedding of a window's last step foretells the fields of the steps after it: the one embedding of a window that no
encoder, whichever sides of a step it sees, can have from the future.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from torch import Tensor, nn

from models import layers
from models.config import DecoderConfig, HeadConfig, ModelConfig
from models.decoder import Decoder
from models.errors import ModelError, check_known, check_whole, nearest
from models.forecast import ForecastHead
from models.layers import RecurrentLayer
from models.losses import loss_weight
from models.subspace import SubspaceHead


class AutoencoderOutput(NamedTuple):
    """Embedding `(B, T, D)` and reconstruction `(B, T, C, H, W)`, in the units of the input.

    `penalty` is what the layer adds to the training loss, None where it adds nothing.
    """

    embedding: Tensor
    reconstruction: Tensor
    penalty: Tensor | None


class Autoencoder(nn.Module):
    """Embed a window of fields, one vector a step, and reconstruct the fields from the vectors.

    Args:
        layer: the recurrent layer, C -> F channels.
        head: hidden maps -> embedding.
        decoder: embedding -> fields.
        foretell: embedding -> the embeddings of the steps that follow; None where nothing is foretold.
        mask: `(C, H, W)`, true where data exist.
        area_weight: `(H,)` cell areas.
        cyclic_longitude: whether the last column is the first one's neighbour.
    """

    mask: Tensor
    area_weight: Tensor

    def __init__(
        self,
        layer: RecurrentLayer,
        head: SubspaceHead,
        decoder: Decoder,
        foretell: ForecastHead | None = None,
        *,
        mask: Tensor,
        area_weight: Tensor,
        cyclic_longitude: bool = False,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.head = head
        self.decoder = decoder
        self.foretell = foretell
        self.cyclic_longitude = cyclic_longitude
        self.register_buffer("mask", mask.bool().clone())
        self.register_buffer("area_weight", area_weight.float().clone())

    def forward(self, x: Tensor, season: Tensor) -> AutoencoderOutput:
        """Embed and reconstruct `x (B, T, C, H, W)` with its seasonal encoding `season (B, T, S)`."""
        embedding, state = self._encode(x, season)
        return AutoencoderOutput(embedding, self.decode(embedding), self.layer.penalty(state))

    def embed(self, x: Tensor, season: Tensor) -> Tensor:
        """Return the embedding `(B, T, D)` of `x (B, T, C, H, W)`.

        Raises:
            ModelError: when the fields are not on the grid for which the autoencoder was built.
        """
        return self._encode(x, season)[0]

    def _encode(self, x: Tensor, season: Tensor) -> tuple[Tensor, Any]:
        """Return the embedding and the layer's state after the window."""
        if x.shape[-3:] != self.mask.shape:
            raise ModelError(
                f"The autoencoder was built for fields of (variables, latitudes, longitudes)"
                f" {tuple(self.mask.shape)}, received {tuple(x.shape[-3:])}: train one on these data."
            )
        hidden, state = self.layer(x)
        return self.head(hidden, season), state

    @property
    def forecast_steps(self) -> int:
        """Steps after a window that are foretold, 0 for none."""
        return 0 if self.foretell is None else self.foretell.steps

    def forecast(self, x: Tensor, season: Tensor) -> Tensor:
        """Return the fields `(B, L, C, H, W)` of the L steps after `x (B, T, C, H, W)`, which ends today."""
        return self.ahead(self.embed(x, season))

    def ahead(self, embedding: Tensor) -> Tensor:
        """Return the fields `(B, L, C, H, W)` of the L steps after a window with `embedding (B, T, D)`.

        Raises:
            ModelError: when the autoencoder has no forecast head.
        """
        if self.foretell is None:
            raise ModelError(
                "The autoencoder foretells nothing: train it with model.forecast_steps=1 or more."
            )
        return self.decode(self.foretell(embedding[:, -1]))

    def decode(self, embedding: Tensor) -> Tensor:
        """Return the fields `(..., C, H, W)` of an embedding `(..., D)`."""
        return self.decoder(embedding)


def build_autoencoder(
    config: Mapping[str, Any],
    *,
    in_channels: int,
    grid: Sequence[int],
    season_features: int,
    mask: Tensor,
    area_weight: Tensor,
    cyclic_longitude: bool,
) -> Autoencoder:
    """Build the autoencoder that a configuration describes (a file of conf/model, as a plain mapping).

    Args:
        config: the keys of `models.config.ModelConfig` and `layer`, the options of the layer.
        in_channels: C, number of variables.
        grid: `(H, W)`.
        season_features: S, features of the seasonal encoding.
        mask: `(C, H, W)`, true where data exist.
        area_weight: `(H,)` cell areas.
        cyclic_longitude: whether the grid spans the globe.

    Raises:
        ModelError: for a key that is unknown, missing or out of range, or a mask off the grid.
    """
    _check_config(config)
    if tuple(mask.shape) != (in_channels, *grid):
        raise ModelError(
            f"The mask must have the shape {(in_channels, *grid)} of the fields, received"
            f" {tuple(mask.shape)}: prepare the data again."
        )
    weight = loss_weight(mask, area_weight)  # checked here for all that use them
    pad_mode = "cylinder" if cyclic_longitude else "zeros"
    options = dict(config["layer"])
    if "area_weight" in layers.options_of(config["name"]):
        options["area_weight"] = _visible_area(weight)
    if "grid" in layers.options_of(config["name"]):
        options["grid"] = tuple(grid)
    layer = layers.build(
        config["name"],
        in_channels,
        config["hidden_channels"],
        depth=config["depth"],
        **{"pad_mode": pad_mode, **options},
    )
    head = SubspaceHead(
        config["hidden_channels"],
        config["embedding_size"],
        area_weight=area_weight.float(),
        grid=grid,
        season_features=season_features,
        pad_mode=pad_mode,
        **config["head"],
    )
    decoder = Decoder(
        config["embedding_size"], mask=mask, area_weight=area_weight, pad_mode=pad_mode, **config["decoder"]
    )
    steps = config["forecast_steps"]
    return Autoencoder(
        layer,
        head,
        decoder,
        ForecastHead(config["embedding_size"], steps) if steps else None,
        mask=mask,
        area_weight=area_weight,
        cyclic_longitude=cyclic_longitude,
    )


def _visible_area(weight: Tensor) -> Tensor:
    """Return the weight `(H, W)` of each pixel over all variables: 0 where none of them has data."""
    return weight.sum(0).float()


def _check_config(config: Mapping[str, Any]) -> None:
    known = {field.name for field in fields(ModelConfig)} | {"layer"}
    _check_keys("The model's configuration", config, known)
    _check_keys("The model's head", config["head"], {field.name for field in fields(HeadConfig)})
    _check_keys("The model's decoder", config["decoder"], {field.name for field in fields(DecoderConfig)})
    if config["name"] not in layers.NAMES:
        raise ModelError(f"There is no layer '{config['name']}': {nearest(config['name'], layers.NAMES)}.")
    for key in ("embedding_size", "hidden_channels", "depth"):
        check_whole(f"model.{key}", config[key], 1)
    check_whole("model.forecast_steps", config["forecast_steps"], 0)


def _check_keys(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    check_known(where, given, known)
    missing = sorted(known - set(given))
    if missing:
        raise ModelError(f"{where} lacks the key '{missing[0]}': add it, as in conf/model/base.yaml.")
