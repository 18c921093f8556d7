"""Every check of an argument and every error message: the argument, what came, what was expected."""

import operator
import sys
from typing import NamedTuple

import numpy as np

HALF = {"float16", "bfloat16"}
INDEX = np.dtype(np.int64).char


def plain(x, *others):
    """Whether they are contiguous native float arrays with axes and elements, of one dtype and shape."""
    if type(x) is not np.ndarray or x.dtype.char not in "fd" or not x.dtype.isnative or x.ndim == 0 or x.size == 0 or not _contiguous(x):
        return False
    return all(type(y) is np.ndarray and y.dtype == x.dtype and y.shape == x.shape and _contiguous(y) for y in others)


def plain_indices(target, x):
    """Whether they are contiguous class indices of the rows of a matrix."""
    return type(target) is np.ndarray and target.dtype.char == INDEX and target.dtype.isnative and x.ndim == 2 and target.shape == x.shape[:1] and _contiguous(target)


def _contiguous(a):
    return a.flags.c_contiguous and a.flags.aligned


def is_masked(value):
    """Whether value is a masked array; there is none where nobody has imported numpy.ma, which takes 20 ms."""
    ma = sys.modules.get("numpy.ma")
    return ma is not None and isinstance(value, ma.MaskedArray)


def ndarray(name, value):
    """value as NumPy reads it; CPU tensors of other libraries are not copied."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _of_tensor(name, value, torch)
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except (BufferError, RuntimeError) as refusal:
        raise TypeError(f"{name} is a {type(value).__name__} that NumPy cannot read: {refusal}") from refusal
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is a {type(value).__name__} that makes no array: {error}") from None


def _of_tensor(name, tensor, torch):
    if tensor.requires_grad:
        raise TypeError(f"{name} is a tensor that requires grad, which NumPy arrays cannot; pass {name}.detach()")
    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        raise TypeError(f"{name} is a tensor of layout {tensor.layout} on {tensor.device}; it must be a dense one on the CPU")
    if tensor.dtype != torch.bfloat16:
        return np.asarray(tensor)
    try:
        from ml_dtypes import bfloat16
    except ImportError as missing:
        raise TypeError(f"{name} has dtype torch.bfloat16, for which NumPy needs the package ml_dtypes") from missing
    return np.asarray(tensor.view(torch.uint16)).view(bfloat16)


def array(name, value, *, boolean=False):
    """value as an ndarray of a real dtype; a subclass becomes a plain array, a masked array is refused."""
    if type(value) is not np.ndarray:
        if is_masked(value):
            raise TypeError(f"{name} is a masked array, whose mask would be lost; pass its data, and where=~mask")
        value = ndarray(name, value)
        if type(value) is not np.ndarray:
            value = value.view(np.ndarray)
    kind = value.dtype.kind
    if kind in "iu" or (kind == "f" and value.dtype.itemsize <= 8) or (kind == "b" and boolean) or value.dtype.name == "bfloat16":
        return value
    wanted = "a float16, bfloat16, float32, float64 or integer" + (" or bool" if boolean else "")
    raise TypeError(f"{name} has dtype {value.dtype}; it must be {wanted} array")


def form(name, value):
    """The number of axes of an array-like, and the kind of its dtype."""
    if not hasattr(getattr(value, "dtype", None), "kind"):
        value = ndarray(name, value)
    return value.ndim, value.dtype.kind


def contiguous(value, dtype):
    """value as a C-contiguous, aligned array of that native dtype, of at least one axis."""
    value = np.ascontiguousarray(value, dtype=dtype)
    return value if value.flags.aligned else value.copy()


def working_dtype(*arrays):
    """(dtype of the computation, dtype of the result) for differentiable inputs."""
    dtype = np.result_type(*(a.dtype if a.dtype.kind != "u" and a.dtype.kind != "i" else np.float64 for a in arrays)) \
        if len(arrays) > 1 else arrays[0].dtype
    if dtype.kind in "iu":
        return np.dtype(np.float64), np.dtype(np.float64)
    dtype = dtype.newbyteorder("=")
    if dtype.itemsize >= 4:
        return dtype, dtype
    return (np.dtype(np.float32) if dtype.name in HALF else dtype), dtype


def same_shape(name, value, shape):
    """value broadcast to shape if it is a scalar, else as it is; any other shape is refused."""
    if value.shape == shape:
        return value
    if value.ndim == 0:
        return np.broadcast_to(value, shape)
    raise ValueError(f"{name} has shape {value.shape}; it must be input's shape {shape} or a scalar")


def exact_shape(name, value, shape):
    """value, if it has that shape."""
    if value.shape != tuple(shape):
        raise ValueError(f"{name} has shape {value.shape}; it must be {tuple(shape)}")
    return value


def broadcast(name, value, shape):
    """value broadcast to shape."""
    if value.shape == shape:
        return value
    try:
        return np.broadcast_to(value, shape)
    except ValueError:
        raise ValueError(f"{name} has shape {value.shape}; it must broadcast to {shape}") from None


def full_shape(name, value, shape):
    """value, which has that shape."""
    if value.shape != shape:
        raise ValueError(f"{name} has shape {value.shape}; it must be {shape}")
    return value


def without_last_axis(name, value, shape):
    """value broadcast to shape: of that shape, or without the last axis, or with one axis of length 1, or a scalar."""
    if shape and value.shape == shape[:-1]:
        return np.broadcast_to(value[..., None], shape)
    if value.shape == shape or value.ndim == 0:
        return np.broadcast_to(value, shape)
    if value.ndim == len(shape) and [m for m, n in zip(value.shape, shape, strict=True) if m != n] == [1]:
        return np.broadcast_to(value, shape)
    raise ValueError(f"{name} has shape {value.shape}; it must be input's shape {shape}, without the last axis, with one axis of length 1, or ()")


class Domain(NamedTuple):
    """Values between low and high, or these two alone; NaN passes only where it lies between."""

    low: float
    high: float
    only_ends: bool
    wanted: str

    @property
    def bounds(self):
        return self[:3]


UNIT = Domain(0.0, 1.0, False, "in [0, 1]")
SIGN = Domain(-1.0, 1.0, True, "-1 or 1")
NON_NEGATIVE = Domain(0.0, float("inf"), False, "at least 0")


def outside(name, values, position, domain):
    """The ValueError for values.flat[position]."""
    at = np.unravel_index(position, values.shape) if values.ndim else ()
    where = f"[{', '.join(map(str, at))}]" if any(values.strides) else ""
    raise ValueError(f"{name}{where} is {values[at]}; it must be {domain.wanted}")


def mask(value, shape):
    """where= as a bool array of that shape, or None."""
    return None if value is None or value is True else broadcast("where", boolean("where", value), shape)


def boolean(name, value):
    """value as a bool array."""
    value = array(name, value, boolean=True)
    if value.dtype != bool:
        raise TypeError(f"{name} has dtype {value.dtype}; it must be bool")
    return value


def class_weight(value, n_classes, dtype):
    """weight, one per class, contiguous; or None."""
    if value is None:
        return None
    value = contiguous(array("weight", value, boolean=True), dtype)
    if value.shape != (n_classes,):
        raise ValueError(f"weight has shape {value.shape}; it must be ({n_classes},), one weight per class")
    return value


def per_row(value, shape):
    """sample_weight, one per row, shaped to broadcast against `shape`."""
    value = array("sample_weight", value, boolean=True)
    rows = shape[0] if shape else 1
    if value.size == 1 and value.ndim <= 1 and rows == 1:
        return value.reshape((1,) * len(shape))
    if value.shape != (rows,):
        raise ValueError(f"sample_weight has shape {value.shape}; it must be ({rows},), one weight per row")
    return value.reshape((rows,) + (1,) * (len(shape) - 1))


def axis(value, ndim):
    """An axis as a non-negative int."""
    value = integer("axis", value)
    if not -ndim <= value < ndim:
        raise np.exceptions.AxisError(value, ndim)
    return value % ndim


def class_axis(x, value):
    """The axis of classes; of a single row it is the only one."""
    if x.ndim == 0:
        raise ValueError("input has shape (); it must have an axis of classes")
    return 0 if x.ndim == 1 and value == 1 else axis(value, x.ndim)


REDUCTIONS = ("mean", "sum", "none")


def one_of(name, value, allowed):
    """value, if it is one of the allowed strings."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}")
    return value


def reduction(value, allowed=REDUCTIONS):
    return one_of("reduction", value, allowed)


def result_array(name, value):
    """An array to write to."""
    if not isinstance(value, np.ndarray) or is_masked(value):
        raise TypeError(f"{name} is a {type(value).__name__}; it must be a numpy array")


def out(name, value, shape, dtype):
    """An output array that fits, or None."""
    if value is None:
        return None
    result_array(name, value)
    if value.shape != shape:
        raise ValueError(f"{name} has shape {value.shape}; it must be {shape}")
    if value.dtype.newbyteorder("=") != dtype:
        raise TypeError(f"{name} has dtype {value.dtype}; it must be {dtype}")
    if not value.flags.writeable:
        raise ValueError(f"{name} is read-only")
    return value


def no_dask_array(value):
    """The TypeError for something lazy that has no shape."""
    return TypeError(f"an argument is a {type(value).__name__}; it must be a Dask array: see dask.array.from_delayed")


def no_out():
    """The TypeError for out= where results are lazy."""
    return TypeError("out is given; results of Dask arrays are lazy, and are stored by their own store() or to_zarr()")


def plain_arrays(name):
    """The TypeError of what computes on NumPy's arrays alone."""
    return TypeError(f"{name} has an argument that is lazy or on a device; it must be given NumPy arrays")


def outs(name, value, count):
    """out= of a call with several results: a tuple with None where a new array is wanted."""
    if value is None:
        return (None,) * count
    if not isinstance(value, tuple):
        raise TypeError(f"{name} is a {type(value).__name__}; it must be a tuple of {count}, None for a result that is to be allocated")
    if len(value) != count:
        raise ValueError(f"{name} has {len(value)} entries; it must have {count}, None for a result that is to be allocated")
    return value


def number(name, value, wanted, test):
    """A Python float that passes the test."""
    try:
        value = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}; it must be a number") from None
    except OverflowError:
        raise ValueError(f"{name} is {value!r}; it must be {wanted}, within the range of a float") from None
    if not test(value):
        raise ValueError(f"{name} is {value}; it must be {wanted}")
    return value


def parameter(name, value, wanted, test):
    """A number or an array of them, every one of which passes the test; a View of device memory is not read."""
    if not hasattr(value, "far") and not np.all(test(np.asarray(array(name, value, boolean=True), float))):
        raise ValueError(f"{name} is {value}; it must be {wanted}")
    return value


def generator(name, value):
    """A numpy.random.Generator, or None."""
    if value is not None and not isinstance(value, np.random.Generator):
        raise TypeError(f"{name} is a {type(value).__name__}; it must be a numpy.random.Generator")
    return value


def divisible(name, size, axis, by):
    """The length of an axis divided by a number of parts."""
    if size % by:
        raise ValueError(f"{name} has {size} entries along axis {axis}; it must be a multiple of {by}")
    return size // by


def integer(name, value):
    """A Python int."""
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{name} is {value!r}; it must be an int")


def index(name, value):
    """An int that fits in 64 bits."""
    value = integer(name, value)
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} is {value}; it must be an int of 64 bits")
    return value


def items(name, value, count=None):
    """A list or tuple, of that many entries."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} is a {type(value).__name__}; it must be a list or a tuple")
    if count is not None and len(value) != count:
        raise ValueError(f"{name} has {len(value)} entries; it must have {count}")
    return value


def class_indices(target):
    """Class indices as a contiguous int32 or int64 array."""
    if target.dtype.kind not in "iu":
        raise TypeError(f"target has dtype {target.dtype}; class indices must be integers, and probabilities must have input's shape")
    if target.dtype == np.int32:
        return contiguous(target, np.int32)
    if target.dtype.kind == "u" and target.dtype.itemsize == 8:          # beyond int64 it must not come round as an index
        return np.minimum(target, np.uint64(2**63 - 1)).astype(np.int64)
    return contiguous(target, np.int64)


def bad_index(target, position, n_classes, ignore_index, ignoring="or ignore_index"):
    """The IndexError for target.flat[position]."""
    where = ", ".join(map(str, np.unravel_index(position, target.shape))) if target.ndim else "()"
    ignored = "" if ignore_index is None else f" {ignoring} ({ignore_index})"
    raise IndexError(f"target[{where}] is {target.reshape(-1)[position]}; class indices must be in [0, {n_classes}){ignored}")


# Objectives


def no_loss(value):
    raise TypeError(f"loss is {value!r}; it must be a loss or the name of one")


def loss_inputs(name, required):
    """A loss's required arguments are an input and a target."""
    if required != ["input", "target"]:
        raise ValueError(f"loss is {name}, of {', '.join(required)}; it must be one of input and target alone")


def loss_parameters(name, given, allowed):
    for parameter in given:
        if parameter not in allowed:
            raise TypeError(f"{parameter!r} is no parameter of {name} that an objective can set; those are {', '.join(sorted(allowed)) or 'none'}")


def raw_scores(value):
    """Predictions of one output, or of several, as an array."""
    value = array("y_pred", value)
    if value.ndim not in (1, 2):
        raise ValueError(f"y_pred has shape {value.shape}; it must be (rows,) or (rows, outputs)")
    return value


def class_columns(name, shape):
    if len(shape) != 2:
        raise ValueError(f"y_pred has shape {shape}; {name} needs (rows, classes): give the engine the number of classes")


def all_labels(target):
    """The labels of all rows, none of them missing."""
    target = array("target", target, boolean=True)
    if target.ndim not in (1, 2):
        raise ValueError(f"target has shape {target.shape}; it must be (rows,) or (rows, outputs)")
    if (bad := target != target).any():
        raise ValueError(f"target[{', '.join(map(str, np.argwhere(bad)[0]))}] is nan; an initial score needs every label")
    return target


def some_weight(weight):
    if not weight.sum() > 0:
        raise ValueError(f"the weights of {len(weight)} rows add up to {weight.sum()}; it must be more than 0")


def whole_labels(target):
    """Labels that an engine holds as floats, as int64."""
    with np.errstate(invalid="ignore"):
        indices = target.astype(np.int64, copy=False)
    if target.dtype.kind == "f" and (bad := indices != target).any():
        at = tuple(np.argwhere(bad)[0])
        raise ValueError(f"target[{', '.join(map(str, at))}] is {target[at]}; class labels must be whole numbers")
    return indices


def class_labels(target, n_classes, ignore_index):
    """Class indices, from floats too."""
    indices = whole_labels(target)
    bad = (indices < 0) | (indices >= n_classes)
    if ignore_index is not None:
        bad &= indices != ignore_index
    if bad.any():
        bad_index(target, bad.argmax(), n_classes, ignore_index)
    return indices


def sign_labels(target):
    """-1 and 1, from labels 0 and 1 too."""
    zero = target == 0
    signs = np.where(zero, -1, target)
    bad = abs(signs) != 1
    bad |= zero & (target == -1).any()
    if bad.any():
        at = tuple(np.argwhere(bad)[0])
        raise ValueError(f"target[{', '.join(map(str, at))}] is {target[at]}; labels of a loss of signs must be -1 and 1, or 0 and 1")
    return signs


# Sequences


def no_hessian(name):
    """The error of a loss that has no second derivative to offer."""
    return NotImplementedError(f"{name} has no value_grad_hess: its Hessian's diagonal is not implemented; use value_and_grad")


def whole_numbers(name, value):
    """Integers as an int64 array; too large ones become the largest, and an empty list counts as integers."""
    value = ndarray(name, value)
    if value.dtype.kind not in "iu" and value.size:
        raise TypeError(f"{name} has dtype {value.dtype}; it must be integers")
    if value.dtype.kind == "u" and value.dtype.itemsize == 8:
        value = np.minimum(value, np.uint64(2**63 - 1))
    return contiguous(value, np.int64)


def lengths(name, value, n, most, reason):
    """One length in [0, most] for each of n sequences."""
    value = whole_numbers(name, value)
    if value.ndim == 0 and n == 1:
        value = value.reshape(1)
    if value.shape != (n,):
        raise ValueError(f"{name} has shape {value.shape}; it must be ({n},), one length per sequence")
    for i, length in enumerate(value.tolist()):
        if not 0 <= length <= most:
            raise ValueError(f"{name}[{i}] is {length}; it must be in [0, {most}]: {reason}")
    return value


def labels(targets, target_lengths, n, batched):
    """The labels of n sequences, padded or one after the other: (flat, where each sequence begins, target_lengths)."""
    targets = whole_numbers("targets", targets)
    if targets.ndim == 1 + batched:
        rows = targets if batched else targets[None]
        if len(rows) != n:
            raise ValueError(f"targets has shape {targets.shape}; it must be ({n}, S), one row per sequence, or one-dimensional")
        target_lengths = lengths("target_lengths", target_lengths, n, rows.shape[1], "targets has that many labels")
        return rows.reshape(-1), np.arange(n) * rows.shape[1], target_lengths
    if targets.ndim != 1:
        raise ValueError(f"targets has shape {targets.shape}; it must be " + (f"({n}, S) or (sum of target_lengths,)" if batched else "(S,)"))
    target_lengths = lengths("target_lengths", target_lengths, n, targets.size, "targets has that many labels")
    ends = np.cumsum(target_lengths)
    if target_lengths.sum() != targets.size:
        raise ValueError(f"targets has {targets.size} labels; target_lengths adds up to {target_lengths.sum()}")
    return targets, ends - target_lengths, target_lengths


def label_values(labels, offsets, target_lengths, absent, n_classes, blank):
    """Every label of the sequences that are present is a class, and not the blank."""
    places = np.flatnonzero((labels < 0) | (labels >= n_classes) | (labels == blank))
    sequence = np.searchsorted(offsets, places, side="right") - 1
    index = places - offsets[sequence]
    bad = index < target_lengths[sequence]
    if absent is not None:
        bad &= ~absent[sequence]
    if not bad.any():
        return
    first = bad.argmax()
    label = labels[places[first]]
    where = f"label {index[first]} of sequence {sequence[first]} in targets is {label}"
    if label == blank:
        raise ValueError(f"{where}, the blank; labels must be other classes")
    raise IndexError(f"{where}; labels must be in [0, {n_classes})")
