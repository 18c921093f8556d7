"""Schedules: their rules, compiled for the fields that they have."""

import functools

from numba import njit, types
from numba.extending import overload, register_jitable

from ..kernels.jit.primitives import LEAF
from ..schedules import join
from .nodes import Apply, Argument
from .trace import compilable


@register_jitable
def bisect_right(values, x):
    n = 0
    for value in values:
        n += value <= x
    return n


def at(schedule, step): ...


@overload(at)
def _at(schedule, step):
    return (lambda schedule, step: schedule(step)) if isinstance(schedule, types.Callable) else lambda schedule, step: schedule


at_step = njit(**LEAF)(lambda schedule, step: at(schedule, step))


def joined(schedules, begins):
    """The first of the schedules until the second begins, and so on."""
    schedule, begin = schedules[0], begins[0]
    if len(schedules) == 1:
        return njit(**LEAF)(lambda step: at(schedule, step - begin))
    rest, end = joined(schedules[1:], begins[1:]), begins[1]
    return njit(**LEAF)(lambda step: at(schedule, step - begin) if step < end else rest(step))


@functools.cache
def rule_of(kind):
    return compilable(kind._rule, bisect_right=bisect_right, _at=at_step)


def schedule(function, method, nodes):
    """The plan of a schedule at a step."""
    step = nodes["step"]
    if isinstance(step, Argument) and not isinstance(step.type, types.Number):
        raise TypeError(f"step has type {step.type}; it must be a number")
    if isinstance(function, join):
        return Apply(joined(function.schedules, (0, *function.boundaries)), step)
    return Apply(rule_of(type(function)), step, *vars(function).values())
