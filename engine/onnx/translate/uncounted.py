"""Operators that are known and not counted, each with its reason: FLOPs are unknown, never 0."""

from __future__ import annotations

from typing import NamedTuple

from engine.cost import Work
from engine.cost.registry import not_counted
from engine.onnx.translate.registry import MICROSOFT, NodeCall, Translation, translates


class Reason(NamedTuple):
    """Why; ``text`` continues the sentence "OP …". ``macs`` is 0 where there are none for sure, else None."""

    text: str
    macs: int | None = 0


SORTS = Reason("compares as often as the data demands")
FINDS = Reason("finds elements: its output size depends on the data")
SCANS = Reason("is a scan: how much it computes depends on how it is divided")
DRAWS = Reason("draws random numbers")
TRANSFORMS = Reason("is a Fourier transform: its operations depend on the factors of the length")
DECOMPOSES = Reason("is a matrix decomposition: its operations depend on the algorithm", macs=None)
READS_TEXT = Reason("works on text, whose length is not known")
READS_IMAGES = Reason("decodes images, whose size is not known")
GENERATES = Reason(
    "runs its decoder once per generated token, and how many these are depends on the data", macs=None
)
SPARSE = Reason("attends to keys that depend on the data", macs=None)
NO_FORMULA = Reason("has no formula here yet", macs=None)
COMPILED = Reason("holds a part of the model that was compiled for a device", macs=None)


def uncounted(reason: Reason, call: NodeCall) -> tuple[str, Work]:
    """Family and work of an operator that is not counted."""
    return "other", not_counted(f"{call.node.label} {reason.text}", reason.macs)


def _register(reason: Reason, *ops: str, domain: str = "") -> None:
    def translation(call: NodeCall) -> tuple[str, Work]:
        return uncounted(reason, call)

    translation.__doc__ = f"Not counted: {reason.text}."
    register: Translation = translation
    translates(*ops, domain=domain)(register)


_register(SORTS, "TopK", "Unique", "NonMaxSuppression")
_register(FINDS, "NonZero", "Compress")
_register(SCANS, "CumSum", "CumProd")
_register(
    DRAWS,
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
_register(TRANSFORMS, "DFT", "STFT")
_register(Reason("makes a table of filters, whose size follows from its values"), "MelWeightMatrix")
_register(DECOMPOSES, "Det")
_register(READS_TEXT, "StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch", "TfIdfVectorizer")
_register(READS_IMAGES, "ImageDecoder")
_register(
    Reason("pools over windows whose sizes depend on the regions' coordinates"), "MaxRoiPool", "PyramidROIAlign_TRT",
    "MultilevelCropAndResize_TRT",
)  # fmt: skip
_register(SORTS, "EfficientNMS_TRT")
_register(NO_FORMULA, "DisentangledAttention_TRT", "GRUUnit")
_register(
    Reason("differentiates a part of the graph: what that takes is not known", macs=None),
    "Gradient",
    domain="ai.onnx.preview.training",
)

_register(SORTS, "NGramRepeatBlock", "Unique", "DynamicTimeWarping", domain=MICROSOFT)
_register(DECOMPOSES, "Inverse", domain=MICROSOFT)
_register(TRANSFORMS, "Rfft", "Irfft", domain=MICROSOFT)
_register(READS_TEXT, "Tokenizer", domain=MICROSOFT)
_register(
    Reason("hashes integers"), "MurmurHash3", "NGramHashMapping", "VarlenNGramHashMapping", domain=MICROSOFT
)
_register(GENERATES, "BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch", domain=MICROSOFT)
_register(
    SPARSE, "LongformerAttention", "QOrderedLongformerAttention", "SparseAttention", "DynamicSparseAttention",
    "SparsePagedAttention", "SparseAttentionIndexer", "PackedSparseAttentionIndexer", domain=MICROSOFT,
)  # fmt: skip
_register(
    Reason("multiplies with a matrix whose zeros are not stored", macs=None),
    "SparseToDenseMatMul",
    domain=MICROSOFT,
)
_register(Reason("looks for infinite numbers"), "IsAllFinite", domain=MICROSOFT)
_register(COMPILED, "EPContext", "Snpe", domain=MICROSOFT)
_register(
    NO_FORMULA, "AttnLSTM", "GatedDeltaNet", "WordConvEmbedding", "SampleOp", "EngramGate", "BifurcationDetector",
    "HyperConnectionPreMix", "HyperConnectionPostMix", "LinearAttentionGate", "VarlenCausalConvWithState",
    "MRotaryEmbedding", "GemmaRotaryEmbedding", "BranchwiseRMSNorm", "MaxpoolWithMask", domain=MICROSOFT,
)  # fmt: skip
