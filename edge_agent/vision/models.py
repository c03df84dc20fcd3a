"""Builds the models of the vision part from a signed bundle, as its manifest describes them."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_agent.vision.appearance import AppearanceEmbedder
from edge_agent.vision.detector import FaceDetector
from edge_agent.vision.embedder import (
    Embedder,
    EnsembleEmbedder,
    InputForm,
    LiteRtEmbedder,
    OnnxEmbedder,
    SpaceEmbedder,
)
from edge_agent.vision.errors import ModelError
from edge_agent.vision.mask import MaskClassifier
from edge_agent.vision.person_detector import (
    OnnxPersonDetector,
    PersonForm,
    form_of,
    person_session,
)
from edge_agent.vision.yunet import YuNet
from protocol.keytree import Modality
from runtime.bundle import MODALITY_OF, Bundle, ModelEntry, Role
from runtime.onnx import InferenceSession

_EMBEDDER: Role = "face_embedder"
_CLOTHES: Role = "appearance_embedder"
_UNCALIBRATED_AGREEMENT = 0.7
"""For a model whose bundle tells nothing of its scores: better a photo refused than two people
fused into one template. Strangers' scores are known to pass 0.35 in 3 pairs of a hundred."""
_AGREEMENT_FMR = 0.01


@dataclass(frozen=True, slots=True)
class VisionModels:
    """What a camera's pipeline runs. The networks are shared by all cameras.

    `detector_file` is the face detector's content, and `person_file` the other's, None if the
    bundle has none; `face_net` and `person_net` are those loaded, else each detector loads its own.
    `agreement_threshold` is the cosine below which two photos said to show one person are refused
    at enrolment: strangers reach it once in a hundred pairs, by the bundle's calibration. It is
    far below the threshold at which a whole city is searched. Without a calibration it is high.
    """

    embedder: Embedder
    mask: MaskClassifier
    detector_file: bytes = field(repr=False)
    detector_nms: float = 0.3
    agreement_threshold: float = _UNCALIBRATED_AGREEMENT
    person_file: bytes | None = field(default=None, repr=False)
    person_form: PersonForm | None = None
    face_net: YuNet | None = None
    person_net: InferenceSession | None = None
    clothes: AppearanceEmbedder | None = None

    @property
    def modality(self) -> Modality:
        """What its templates of faces are made of."""
        return MODALITY_OF[_EMBEDDER]

    @property
    def clothes_modality(self) -> Modality:
        """What its templates of clothes and build are made of."""
        return MODALITY_OF[_CLOTHES]

    @property
    def model_id(self) -> str:
        """The id that its templates of faces carry."""
        return self.embedder.model_id

    @property
    def models(self) -> dict[str, str]:
        """Modality to model id of all templates that are made."""
        made: dict[str, str] = {self.modality: self.model_id}
        if self.clothes is not None:
            made[self.clothes_modality] = self.clothes.model_id
        return made

    def detector(self, width: int, height: int, score_threshold: float = 0.3) -> FaceDetector:
        """A detector of its own for the caller's thread, working at width x height pixels.

        Raises:
            ModelError: the bundle's detector cannot be loaded.
        """
        return FaceDetector(
            self.face_net or self.detector_file,
            width=width,
            height=height,
            score_threshold=score_threshold,
            nms_threshold=self.detector_nms,
        )

    def person_detector(self, width: int, height: int) -> OnnxPersonDetector | None:
        """A detector of whole persons for the caller's thread; None if the bundle has none.

        Raises:
            ModelError: the bundle's person detector cannot be loaded.
        """
        if self.person_file is None or self.person_form is None:
            return None
        return OnnxPersonDetector(
            self.person_net or self.person_file, self.person_form, width=width, height=height
        )


def load_models(bundle: Bundle, *, num_threads: int = 1) -> VisionModels:
    """Load detector, embedder (or ensemble) and mask classifier of a verified bundle.

    Args:
        bundle: from `runtime.bundle.load_bundle`.
        num_threads: threads that one embedder or mask run may use.

    Raises:
        BundleError: a role is missing, or a file is not the one that was signed.
        ModelError: a model cannot be loaded or does not fit its description.
    """
    detector = bundle.entry("face_detector")
    if detector.engine != "yunet":
        raise ModelError(
            f"face detector {detector.model_id} is for the engine {detector.engine!r}; "
            "this version runs 'yunet' detectors"
        )
    nms = detector.parameters.get("nms_threshold", 0.3)
    overlap = float(nms) if isinstance(nms, int | float) else 0.3
    detector_file = bundle.read(detector)
    persons = next(iter(bundle.entries("person_detector")), None)
    person_file = None if persons is None else bundle.read(persons)
    return VisionModels(
        embedder=load_embedder(bundle, num_threads=num_threads),
        mask=MaskClassifier(bundle.read(bundle.entry("mask_status")), num_threads=num_threads),
        detector_file=detector_file,
        detector_nms=overlap,
        agreement_threshold=_agreement_threshold(bundle.entries(_EMBEDDER)),
        person_file=person_file,
        person_form=None if persons is None else form_of(persons),
        face_net=YuNet(detector_file, nms_threshold=overlap),
        person_net=None if person_file is None else person_session(person_file),
        clothes=load_clothes(bundle, num_threads=num_threads),
    )


def load_embedder(bundle: Bundle, *, num_threads: int = 1) -> Embedder:
    """The bundle's face embedder: one network, two of one space, or the ensemble of all it lists.

    Raises:
        BundleError: there is none, or a file is not the one that was signed.
        ModelError: a model cannot be loaded or does not fit its description.
    """
    entries = bundle.entries(_EMBEDDER) or (bundle.entry(_EMBEDDER),)
    members = [_embedder(bundle, entry, num_threads) for entry in entries if not entry.space]
    masked = [_embedder(bundle, entry, num_threads) for entry in entries if entry.space]
    if masked:
        return SpaceEmbedder(members[0], masked[0])
    return members[0] if len(members) == 1 else EnsembleEmbedder(members)


def load_clothes(bundle: Bundle, *, num_threads: int = 1) -> AppearanceEmbedder | None:
    """The bundle's appearance embedder, None if it has none.

    Raises:
        ModelError: there are several, or it is not one that this version runs.
    """
    entries = bundle.entries(_CLOTHES)
    if not entries:
        return None
    if len(entries) > 1 or entries[0].engine != "onnx":
        raise ModelError(
            f"the bundle's appearance embedders {', '.join(e.model_id for e in entries)} cannot be "
            "run: this version runs one, by the engine 'onnx'"
        )
    return AppearanceEmbedder(
        bundle.read(entries[0]),
        model_id=entries[0].model_id,
        dimension=entries[0].dimension,
        num_threads=num_threads,
    )


def _agreement_threshold(embedders: tuple[ModelEntry, ...]) -> float:
    """The lowest calibrated threshold at which strangers agree in one pair of a hundred or less."""
    embedders = tuple(entry for entry in embedders if not entry.space)
    if len(embedders) != 1:  # an ensemble's scores are those of none of its members
        return _UNCALIBRATED_AGREEMENT
    thresholds = _numbers(embedders[0], "calibration.fmr.thresholds")
    rates = _numbers(embedders[0], "calibration.fmr.rates")
    pairs = zip(thresholds, rates, strict=False)
    low = [threshold for threshold, rate in pairs if rate <= _AGREEMENT_FMR]
    return min(low, default=_UNCALIBRATED_AGREEMENT)


def _numbers(entry: ModelEntry, name: str) -> list[float]:
    values = entry.parameters.get(name, ())
    if not isinstance(values, tuple):
        return []
    return [float(value) for value in values if isinstance(value, int | float)]


def _embedder(bundle: Bundle, entry: ModelEntry, num_threads: int) -> Embedder:
    if entry.preprocessing.alignment != "arcface-112":
        raise ModelError(
            f"face embedder {entry.model_id} wants the alignment "
            f"{entry.preprocessing.alignment!r}; this version makes 'arcface-112' crops"
        )
    tensor = entry.inputs[0] if entry.inputs else None
    colour = tensor.colour if tensor else ""
    layout = tensor.layout if tensor else ""
    if colour == "GRAY":
        raise ModelError(f"face embedder {entry.model_id} wants grey images, which are not made")
    form = InputForm(
        colour=colour or "RGB",
        layout=layout or ("NHWC" if entry.engine == "litert" else "NCHW"),
        mean=entry.preprocessing.mean,
        std=entry.preprocessing.std,
    )
    kind: type[LiteRtEmbedder | OnnxEmbedder]
    if entry.engine == "litert":
        kind = LiteRtEmbedder
    elif entry.engine == "onnx":
        kind = OnnxEmbedder
    else:
        raise ModelError(f"face embedder {entry.model_id}: engine {entry.engine!r} is no embedder")
    return kind(
        bundle.read(entry),
        model_id=entry.model_id,
        dimension=entry.dimension,
        form=form,
        num_threads=num_threads,
    )
