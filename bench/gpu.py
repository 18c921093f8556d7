"""Speed on a CUDA device, beside torch (eager and compiled) and a copy of the same bytes.

    python -m bench.gpu              # needs a device, numba-cuda and torch with CUDA
    python -m bench.gpu --small      # small arrays in Numba's simulator: that everything runs, not how fast

A fraction is that of the speed of a device-to-device copy of as many bytes as the operation must read and write at least:
8 bytes an element in float32, 28 a parameter of AdamW, whose eager peer is torch's fused one.
"""

import argparse
import os
import statistics
import sys

import numpy as np

ROWS = (8192, 1000), (8192, 12000), (4096, 128000)
SMALL_ROWS = (4, 4), (2, 11), (2, 20)
REPEATS = 30


def host_clock(run):
    """Milliseconds of one call in the simulator, which does not run on its own."""
    from time import perf_counter

    start = perf_counter()
    run()
    return 1e3 * (perf_counter() - start)


def device_clock(run):
    """Median milliseconds on the device, by its events, after warming up."""
    import torch

    for _ in range(3):
        run()
    times = []
    for _ in range(REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def rows_of(small):
    """(name, bytes at least, ours, what it must agree with, {peer: its call}); arrays are torch tensors, or the simulator's."""
    import fastloss as fl

    rng = np.random.default_rng(0)
    if small:
        from numba import cuda

        put, torch = cuda.to_device, None
    else:
        import torch

        put = lambda a: torch.from_numpy(a).cuda()
    for shape in SMALL_ROWS if small else ROWS:
        logits, labels = rng.standard_normal(shape, np.float32), rng.integers(0, shape[1], shape[0])
        x, target = put(logits), put(labels)
        size = 8 * shape[0] * shape[1]
        yield f"cross_entropy value+grad {shape}", size, lambda: fl.cross_entropy.value_and_grad(x, target), \
            lambda: fl.cross_entropy.value_and_grad(logits, labels), cross_entropy_peers(torch, x, target)
        yield f"softmax {shape}", size, lambda: fl.softmax(x, 1), lambda: fl.softmax(logits, 1), peers(torch, lambda: torch.softmax(x, 1))
    n = 16 if small else 100_000_000
    values = rng.standard_normal(n, np.float32)
    x = put(values)
    yield f"gelu {n}", 8 * n, lambda: fl.gelu(x), lambda: fl.gelu(values), peers(torch, lambda: torch.nn.functional.gelu(x))
    weights = rng.standard_normal(n, np.float32)
    param = put(weights)
    peer = adamw_peers(torch, param, x)
    ours, on_host = fl.optim.AdamW(param), fl.optim.AdamW(weights)
    yield f"AdamW {n}", 28 * n, lambda: ours.step(x) or param, lambda: on_host.step(values) or weights, peer


def peers(torch, call):
    return {} if torch is None else {"torch": call, "torch.compile": torch.compile(call)}


def cross_entropy_peers(torch, x, target):
    if torch is None:
        return {}
    logits = x.clone().requires_grad_()

    def backward(loss):
        logits.grad = None
        loss(logits, target).backward()

    loss = torch.nn.functional.cross_entropy
    compiled = torch.compile(loss)
    return {"torch": lambda: backward(loss), "torch.compile": lambda: backward(compiled)}


def adamw_peers(torch, param, grad):
    if torch is None:
        return {}
    own = torch.nn.Parameter(param.clone())
    own.grad = grad
    step = torch.optim.AdamW([own], fused=True).step
    return {"torch": step, "torch.compile": torch.compile(torch.optim.AdamW([own]).step)}


def copy_of(size, small):
    """A copy that reads and writes half the bytes each."""
    if small:
        source, target = (np.zeros(size // 2, np.uint8) for _ in range(2))
        return lambda: np.copyto(target, source)
    import torch

    source, target = (torch.empty(size // 2, dtype=torch.uint8, device="cuda") for _ in range(2))
    return lambda: target.copy_(source)


def agree(got, want):
    """The device's answer is the CPU's, to a few places of the last digit."""
    if isinstance(want, tuple):
        for a, b in zip(got, want, strict=True):
            agree(a, b)
        return
    got = got.copy_to_host() if hasattr(got, "copy_to_host") else got.cpu().numpy()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6 * np.abs(want).max())


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="small arrays in Numba's simulator")
    small = parser.parse_args(arguments).small
    if small:
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
    clock = host_clock if small else device_clock
    print("| | ms | GB/s | of a copy's speed | torch | torch.compile |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, size, run, on_host, others in rows_of(small):
        agree(run(), on_host())
        own, copied = clock(run), clock(copy_of(size, small))
        ratios = [f"{clock(other) / own:.2f}x" for other in others.values()] or ["", ""]
        print(f"| {name} | {own:.3f} | {size / own / 1e6:.0f} | {copied / own:.0%} | {' | '.join(ratios)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
