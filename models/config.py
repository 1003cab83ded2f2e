"""The keys of a model's configuration, with their types and ranges; the values stand in conf/model."""

from __future__ import annotations

from dataclasses import dataclass

from models.ranges import each, odd, one_of, power_of_two, within

MOST = 4096  # channels, states and the like: more is a slip of the hand, which would end for want of memory
VARIANTS = (
    "full", "facST", "facTS", "binaryTS", "binaryST", "tripletTST", "tripletSTS", "quadrupletTSST", "quadrupletSTTS",
)  # fmt: skip


@dataclass(kw_only=True)
class HeadConfig:
    """The subspace head, from hidden maps to the embedding."""

    reduction: str = one_of("convolution", "mean")  # learned, or the area-weighted mean over the map
    reduced_channels: int = within(1, MOST)  # channels of the strided convolutions
    map_size: int = within(1, MOST)  # longest side of the map that is flattened
    temporal_attention: bool  # let the steps of a window see each other
    heads: int = within(1, 256)  # heads of the temporal attention
    causal: bool  # temporal attention sees only the past
    seasonal_encoding: bool  # tell the temporal attention the season


@dataclass(kw_only=True)
class DecoderConfig:
    """The decoder, from the embedding to the fields."""

    linear: str = one_of("orthonormal", "free")  # patterns; orthonormal: embedding distance is field distance
    map_size: int = within(1, MOST)  # longest side of the grid on which the patterns are held
    convolution: bool  # add a convolutional part, not linear in the embedding
    convolution_channels: int = within(1, MOST)  # its inner channels


@dataclass(kw_only=True)
class ConvLSTMConfig:
    """Options of the ConvLSTM layer."""

    kernel_size: int = odd(1, 99)  # of the gates' convolutions
    peephole: str | None = one_of(None, "channel", "full")  # one weight a channel, or one a pixel as well


@dataclass(kw_only=True)
class ConvGRUConfig:
    """Options of the ConvGRU layer."""

    kernel_size: int = odd(1, 99)  # of the gates' convolutions


@dataclass(kw_only=True)
class MinConvGRUConfig:
    """Options of the MinConvGRU layer."""

    kernel_size: int = odd(1, 99)  # of the convolution
    candidate: str = one_of("positive", "tanh", "identity")  # as published: positive
    scan: str = one_of("linear", "doubling", "log")  # as published: log
    memory: float = within(1.01, 1e6)  # steps, the longest memory at the start


@dataclass(kw_only=True)
class MinConvLSTMConfig(MinConvGRUConfig):
    """Options of the MinConvLSTM layer."""

    gates: str = one_of("sigmoid", "exponential")


@dataclass(kw_only=True)
class FAConvLSTMConfig:
    """Options of the FAConvLSTM layer."""

    bottleneck_ratio: int = within(1, MOST)  # hidden channels a bottleneck channel; 1 for no bottleneck
    mixing: str = one_of("depthwise", "dense")  # factorised, or as in ConvLSTM
    branches: list[list[int]] = each(
        each(odd(1, 99), within(1, 1024))
    )  # [kernel, dilation] of each depthwise branch
    layer_norm: bool  # LayerNorm over the channels of a pixel, after mixing
    gate_norm: bool  # LayerNorm over the gates of a pixel as well
    squeeze_excitation: bool  # the mean of the whole map scales the channels
    peephole: bool  # gates see the cell state, one weight a channel
    attention: str = one_of("light", "exact", "none")  # to averaged keys, to every pixel
    attention_every: int = within(1, 10**6)  # steps from one axial attention to the next
    attention_tokens: int = within(1, MOST)  # keys a line of the light attention, at most


@dataclass(kw_only=True)
class VMRNNConfig:
    """Options of the VMRNN layer."""

    form: str = one_of("B", "D")  # one cell, or cells on the way down to coarser maps and up
    width: int = within(1, MOST)  # numbers a token
    patch: int = power_of_two(1024)  # side of a patch in pixels
    blocks: list[int] | None = each(
        within(1, 256)
    )  # of each cell on the way down; null for the published ones
    state_size: int = within(1, MOST)  # states a channel of the scan
    chunk: int = within(1, 10**6)  # places of a scan that are in memory at once


@dataclass(kw_only=True)
class SwinLSTMConfig:
    """Options of the SwinLSTM layer."""

    form: str = one_of("B", "D")  # one cell, or cells on the way down to coarser maps and up
    width: int = within(1, MOST)  # numbers a token
    patch: int = power_of_two(1024)  # side of a patch in pixels
    blocks: list[int] | None = each(
        within(1, 256)
    )  # of each cell on the way down; null for the published ones
    heads: int = within(1, 256)  # attention heads on the finest map
    window: int = within(1, 1024)  # side of a window in tokens


@dataclass(kw_only=True)
class PredRNNConfig:
    """Options of the PredRNN layer."""

    width: int = within(1, MOST)  # channels of every layer
    patch: int = power_of_two(1024)  # side of a patch in pixels
    layers: int = within(1, 64)  # through which the memory goes in zigzag
    kernel_size: int = odd(1, 99)
    decoupling_weight: float = within(0, 1e6)  # of the decoupling loss; 0 for none


@dataclass(kw_only=True)
class ConvS5Config:
    """Options of the ConvS5 layer."""

    state_size: int = within(2, MOST)  # states a pixel, even
    blocks: int = within(1, MOST)  # blocks of states that begin alike
    kernel_size: int = odd(1, 99)
    norm: str = one_of("post", "pre", "none")  # where the LayerNorm stands


@dataclass(kw_only=True)
class SimVPv2Config:
    """Options of the SimVPv2 encoder."""

    length: int = within(1, 10**6)  # steps of a window, the one length that it takes
    width: int = within(1, MOST)  # channels of the inner blocks
    spatial_layers: int = within(1, 20)  # convolutions on either side, every second one halving the grid
    blocks: int = within(2, 256)  # of gated spatiotemporal attention
    mlp_ratio: int = within(1, 64)  # inner channels of a block's second part, in widths
    norm: str = one_of("group", "batch")


@dataclass(kw_only=True)
class PredFormerConfig:
    """Options of the PredFormer encoder."""

    variant: str = one_of(*VARIANTS)  # how attention in time and in space alternate
    width: int = within(1, MOST)  # numbers a token
    patch: int = power_of_two(1024)  # side of a patch in pixels
    blocks: int = within(1, 256)  # gated blocks in all
    heads: int = within(1, 256)  # attention heads
    head_width: int = within(1, MOST)  # numbers a head
    mlp_ratio: int = within(1, 64)  # inner width of a block's second part, in widths
    causal: bool  # attention in time sees only the past


@dataclass(kw_only=True)
class FAMinConvConfig:
    """Options of the FA-MinConv layer."""

    bottleneck_ratio: int = within(1, MOST)  # hidden channels a bottleneck channel; 1 for no bottleneck
    branches: list[list[int]] = each(
        each(odd(1, 99), within(1, 1024))
    )  # [kernel, dilation] of each depthwise branch
    layer_norm: bool  # LayerNorm over the channels of a pixel, after mixing
    squeeze_excitation: bool  # the mean of the whole map scales the channels
    attention: str = one_of("light", "exact", "none")  # to averaged keys, to every pixel
    attention_every: int = within(1, 10**6)  # steps from one axial attention to the next
    attention_tokens: int = within(1, MOST)  # keys a line of the light attention, at most
    candidate: str = one_of("positive", "tanh", "identity")
    scan: str = one_of("linear", "doubling", "log")  # log: of positive candidates only
    memory: float = within(1.01, 1e6)  # steps, the longest memory at the start


@dataclass(kw_only=True)
class ModelConfig:
    """What all models share."""

    name: str  # of the layer, one of models.layers.NAMES
    embedding_size: int = within(1, MOST)  # numbers a time step
    hidden_channels: int = within(1, MOST)  # channels of the hidden maps
    depth: int = within(1, 64)  # layers on top of each other
    head: HeadConfig
    decoder: DecoderConfig
    laplacian_weight: float = within(0, 1e6)  # weight of the Laplacian term in the loss; 0 for none
    laplacian_of: str = one_of("error", "reconstruction")
    forecast_steps: int = within(0, 366)  # steps after a window that its last embedding foretells; 0 for none
    forecast_weight: float = within(0, 1e6)  # weight of the forecast's error in the loss


@dataclass(kw_only=True)
class ConvLSTMModelConfig(ModelConfig):
    """A ConvLSTM autoencoder."""

    name: str = one_of("convlstm")
    layer: ConvLSTMConfig


@dataclass(kw_only=True)
class ConvGRUModelConfig(ModelConfig):
    """A ConvGRU autoencoder."""

    name: str = one_of("convgru")
    layer: ConvGRUConfig


@dataclass(kw_only=True)
class MinConvGRUModelConfig(ModelConfig):
    """A MinConvGRU autoencoder."""

    name: str = one_of("minconvgru")
    layer: MinConvGRUConfig


@dataclass(kw_only=True)
class MinConvLSTMModelConfig(ModelConfig):
    """A MinConvLSTM autoencoder."""

    name: str = one_of("minconvlstm")
    layer: MinConvLSTMConfig


@dataclass(kw_only=True)
class FAMinConvModelConfig(ModelConfig):
    """A FA-MinConv autoencoder."""

    name: str = one_of("faminconv")
    layer: FAMinConvConfig


@dataclass(kw_only=True)
class FAConvLSTMModelConfig(ModelConfig):
    """A FAConvLSTM autoencoder."""

    name: str = one_of("faconvlstm")
    layer: FAConvLSTMConfig


@dataclass(kw_only=True)
class VMRNNModelConfig(ModelConfig):
    """A VMRNN autoencoder."""

    name: str = one_of("vmrnn")
    layer: VMRNNConfig


@dataclass(kw_only=True)
class SwinLSTMModelConfig(ModelConfig):
    """A SwinLSTM autoencoder."""

    name: str = one_of("swinlstm")
    layer: SwinLSTMConfig


@dataclass(kw_only=True)
class PredRNNModelConfig(ModelConfig):
    """A PredRNN autoencoder."""

    name: str = one_of("predrnn")
    layer: PredRNNConfig


@dataclass(kw_only=True)
class ConvS5ModelConfig(ModelConfig):
    """A ConvS5 autoencoder."""

    name: str = one_of("convs5")
    layer: ConvS5Config


@dataclass(kw_only=True)
class SimVPv2ModelConfig(ModelConfig):
    """A SimVPv2 autoencoder."""

    name: str = one_of("simvpv2")
    layer: SimVPv2Config


@dataclass(kw_only=True)
class PredFormerModelConfig(ModelConfig):
    """A PredFormer autoencoder."""

    name: str = one_of("predformer")
    layer: PredFormerConfig


MODEL_CONFIGS: dict[str, type[ModelConfig]] = {
    "convlstm": ConvLSTMModelConfig,
    "convgru": ConvGRUModelConfig,
    "faconvlstm": FAConvLSTMModelConfig,
    "faminconv": FAMinConvModelConfig,
    "minconvgru": MinConvGRUModelConfig,
    "minconvlstm": MinConvLSTMModelConfig,
    "vmrnn": VMRNNModelConfig,
    "swinlstm": SwinLSTMModelConfig,
    "predrnn": PredRNNModelConfig,
    "convs5": ConvS5ModelConfig,
    "simvpv2": SimVPv2ModelConfig,
    "predformer": PredFormerModelConfig,
}
