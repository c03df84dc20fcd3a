"""Turns aligned face crops into unit vectors, with whatever embedder the model bundle names.

The default is SFace through onnxruntime, and for crops that show a mask its student, whose vectors
compare with its own (`SpaceEmbedder`). Any embedder that the manifest describes works too: ONNX, or
LiteRT (`ai-edge-litert`; on old boards its ancestor `tflite-runtime`), whose input may be fixed at
some number of faces. Several together (an ensemble) make one longer vector.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.vision.arrays import CROP_SIZE, Crops, Flags, Floats
from edge_agent.vision.errors import ModelError
from runtime.onnx import InferenceSession, cpu_session

_BATCH = 16  # crops a run for models with a free batch dimension: bounds their memory


class Embedder(Protocol):
    """What the pipeline needs of an embedder; its methods may be called from several threads."""

    @property
    def model_id(self) -> str:
        """The id that its templates carry, `<name>-<dim>@<start of sha256>`: of their space."""

    @property
    def dimension(self) -> int:
        """Length of its vectors."""

    def embed(self, crops: Crops, masked: Flags | None = None) -> Floats:
        """Embed aligned crops (n, 112, 112, 3) uint8 BGR to unit rows (n, dimension) float32.

        Args:
            crops: of faces.
            masked: (n,) bool, which of them show a mask; None: none of them.

        Raises:
            ModelError: the model gave something else than finite, non-zero vectors.
        """

    def networks(self, masked: Flags) -> str:
        """The model ids of the networks that embed such crops, joined with `&`."""


@dataclass(frozen=True, slots=True)
class InputForm:
    """How crops become the model's input: colour order, axes and `(x - mean) / std`.

    `mean` and `std` have one value, or one for each channel in the order of `colour`.
    """

    colour: Literal["RGB", "BGR"] = "RGB"
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    mean: tuple[float, ...] = (127.5,)
    std: tuple[float, ...] = (128.0,)

    def __post_init__(self) -> None:
        if not {len(self.mean), len(self.std)} <= {1, 3} or 0.0 in self.std:
            raise ModelError("an embedder's mean and std need one or three values, std not zero")

    def prepare(self, crops: Crops) -> Floats:
        """The input (n, 112, 112, 3) or (n, 3, 112, 112) float32 for crops (n, 112, 112, 3)."""
        pixels = crops[..., ::-1] if self.colour == "RGB" else crops
        values = pixels.astype(np.float32)
        values -= np.array(self.mean, np.float32)
        values /= np.array(self.std, np.float32)
        if self.layout == "NCHW":
            values = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        return values


class LiteRtEmbedder:
    """A TensorFlow Lite embedder with a fixed batch, run by LiteRT on the CPU."""

    def __init__(
        self, model: bytes, *, model_id: str, dimension: int, form: InputForm, num_threads: int = 1
    ) -> None:
        """Load the model from its file's content.

        Raises:
            ModelError: it cannot be loaded, or its tensors are not those of a face embedder.
        """
        self.model_id = model_id
        self.dimension = dimension
        self._form = form
        self._lock = threading.Lock()
        try:
            self._interpreter = _interpreter()(model_content=model, num_threads=num_threads)
            self._interpreter.allocate_tensors()
            self._input = self._interpreter.get_input_details()[0]
            self._output = self._interpreter.get_output_details()[0]
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"face embedder {model_id} cannot be loaded: {error}") from error
        self._batch = int(self._input["shape"][0])
        side = (CROP_SIZE, CROP_SIZE)
        wanted = (*side, 3) if form.layout == "NHWC" else (3, *side)
        if tuple(self._input["shape"][1:]) != wanted or self._output["shape"][-1] != dimension:
            raise ModelError(
                f"face embedder {model_id} takes {tuple(self._input['shape'])} and gives "
                f"{tuple(self._output['shape'])}, which is not what its manifest says"
            )
        if self._input["dtype"] is not np.float32 or self._output["dtype"] is not np.float32:
            raise ModelError(f"face embedder {model_id} does not take and give float32")

    def embed(self, crops: Crops, masked: Flags | None = None) -> Floats:
        """See `Embedder.embed`; the last batch is filled up with a repeated crop."""
        vectors = np.empty((len(crops), self.dimension), np.float32)
        for start in range(0, len(crops), self._batch):
            part = self._form.prepare(crops[start : start + self._batch])
            count = len(part)
            if count < self._batch:
                part = np.concatenate([part, np.repeat(part[-1:], self._batch - count, axis=0)])
            with self._lock:
                self._interpreter.set_tensor(self._input["index"], part)
                self._interpreter.invoke()
                out = self._interpreter.get_tensor(self._output["index"])
            vectors[start : start + count] = out.reshape(self._batch, -1)[:count]
            part.fill(0)
            out.fill(0)
        return unit_rows(vectors, self.model_id)

    def networks(self, masked: Flags) -> str:
        """See `Embedder.networks`: it embeds all crops alike."""
        return self.model_id


class OnnxEmbedder:
    """Any ONNX embedder with a free or fixed batch, run by onnxruntime on the CPU."""

    def __init__(
        self, model: bytes, *, model_id: str, dimension: int, form: InputForm, num_threads: int = 1
    ) -> None:
        """Load the model from its file's content.

        Raises:
            ModelError: it cannot be loaded, or its tensors are not those of a face embedder.
        """
        self.model_id = model_id
        self.dimension = dimension
        self._form = form
        self._session = onnx_session(model, f"face embedder {model_id}", num_threads)
        tensor = self._session.get_inputs()[0]
        if tensor.type != "tensor(float)" or len(tensor.shape) != 4:
            raise ModelError(f"face embedder {model_id} does not take float32 images")
        self._name = tensor.name
        fixed = tensor.shape[0]
        self._batch = fixed if isinstance(fixed, int) and fixed > 0 else 0

    def embed(self, crops: Crops, masked: Flags | None = None) -> Floats:
        """See `Embedder.embed`."""
        vectors = np.empty((len(crops), self.dimension), np.float32)
        step = self._batch or _BATCH
        for start in range(0, len(crops), step):
            part = self._form.prepare(crops[start : start + step])
            count = len(part)
            if self._batch and count < self._batch:
                part = np.concatenate([part, np.repeat(part[-1:], self._batch - count, axis=0)])
            out = run_onnx(self._session, {self._name: part}, f"face embedder {self.model_id}")
            if out.size != len(part) * self.dimension:
                raise ModelError(
                    f"face embedder {self.model_id} gave {out.shape}, not vectors of "
                    f"{self.dimension} as its manifest says"
                )
            vectors[start : start + count] = out.reshape(len(part), -1)[:count]
            part.fill(0)
        return unit_rows(vectors, self.model_id)

    def networks(self, masked: Flags) -> str:
        """See `Embedder.networks`: it embeds all crops alike."""
        return self.model_id


class EnsembleEmbedder:
    """Several embedders as one: their unit vectors end to end, made unit length again."""

    def __init__(self, members: Sequence[Embedder]) -> None:
        if not members:
            raise ModelError("an ensemble of embedders needs at least one")
        self._members = tuple(members)
        self.model_id = "+".join(member.model_id for member in self._members)
        self.dimension = sum(member.dimension for member in self._members)

    def embed(self, crops: Crops, masked: Flags | None = None) -> Floats:
        """See `Embedder.embed`."""
        parts = [member.embed(crops, masked) for member in self._members]
        joined = np.concatenate(parts, axis=1)
        for part in parts:
            part.fill(0)
        return unit_rows(joined, self.model_id)

    def networks(self, masked: Flags) -> str:
        """See `Embedder.networks`: it embeds all crops alike."""
        return self.model_id


class SpaceEmbedder:
    """Two networks of one space: one for bare faces, one for crops that show a mask."""

    def __init__(self, bare: Embedder, masked: Embedder) -> None:
        """Take the network that names the space, and the one that was taught to agree with it.

        Raises:
            ModelError: their vectors differ in length.
        """
        if bare.dimension != masked.dimension:
            raise ModelError(
                f"{masked.model_id} cannot lie in the space of {bare.model_id}: its vectors have "
                f"{masked.dimension} numbers, not {bare.dimension}"
            )
        self._bare, self._masked = bare, masked
        self.model_id = bare.model_id
        self.dimension = bare.dimension

    def embed(self, crops: Crops, masked: Flags | None = None) -> Floats:
        """See `Embedder.embed`."""
        if masked is None or not masked.any():
            return self._bare.embed(crops)
        vectors = np.empty((len(crops), self.dimension), np.float32)
        for network, rows in ((self._bare, ~masked), (self._masked, masked)):
            if rows.any():
                part = crops[rows]
                vectors[rows] = network.embed(part)
                part.fill(0)
        return vectors

    def networks(self, masked: Flags) -> str:
        """See `Embedder.networks`."""
        used = [self._bare.model_id] if not masked.all() else []
        return "&".join([*used, self._masked.model_id] if masked.any() else used)


def unit_rows(vectors: Floats, what: str) -> Floats:
    """Scale the rows (n, d) to unit length, in place.

    Raises:
        ModelError: a row is zero or not finite.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths < 1e-6).any():
        raise ModelError(f"face embedder {what} gave a vector that is zero or not finite")
    vectors /= lengths
    return vectors


def onnx_session(model: bytes, what: str, num_threads: int) -> InferenceSession:
    """An onnxruntime session on the CPU with this many threads, which do not spin when idle.

    Raises:
        ModelError: the model cannot be loaded.
    """
    try:
        return cpu_session(model, num_threads)
    except Exception as error:  # onnxruntime's errors share no public base but Exception
        raise ModelError(f"{what} cannot be loaded: {_first_line(error)}") from error


def run_onnx(session: InferenceSession, feed: dict[str, NDArray[Any]], what: str) -> NDArray[Any]:
    """The first output of a run.

    Raises:
        ModelError: the model refuses the input.
    """
    try:
        return np.asarray(session.run(None, feed)[0])
    except Exception as error:  # onnxruntime's errors share no public base but Exception
        raise ModelError(f"{what} failed: {_first_line(error)}") from error


def _interpreter() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - slow, one of two
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter  # noqa: PLC0415 - the ancestor
        except ImportError as error:
            raise ModelError(
                "LiteRT is not installed; install the Python package ai-edge-litert"
            ) from error
    return Interpreter


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
