"""ONNX on a device: an exported model with onnxruntime and NumPy, without Nerula or torch.

    nerula export nerula-small nerula-small.onnx
    python examples/onnx_on_a_device.py nerula-small.onnx examples/ecg.csv

The CSV has a line `# rate: 250`, a line of titles and a column per lead, in mV; an empty cell or
nan is a sample that was not measured. What has to be done with them stands in the model's file.
A model that takes any set of leads, such as leads-small, finds them by their titles: I, II, V2.
The embedding goes to ecg.embedding.csv, and a picture of both to ecg.embedding.svg.
"""

import argparse
import json
import math
import re
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnxruntime


def open_model(path):
    """A session on one core, from bytes (so that no other file is ever read), and its recipe."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
    return session, json.loads(session.get_modelmeta().custom_metadata_map["nerula"])


def read(path):
    """Titles, signals (leads, time) in mV with NaN where nothing was measured, and their rate."""
    text = path.read_text(encoding="utf-8")
    said = re.search(r"#\s*rate:\s*([0-9.]+)", text)
    if said is None:
        raise SystemExit(f"{path} does not say its rate in a line such as: # rate: 250")
    titles, *rows = [line for line in text.splitlines() if line and not line.startswith("#")]
    cells = [
        [float(cell) if cell.strip() else math.nan for cell in row.split(",")] for row in rows
    ]
    names = [title.split("(")[0].strip() for title in titles.split(",")]
    return names, np.array(cells, np.float64).T, float(said[1])


def placed(names, x, wanted):
    """The leads in the model's order; those that are not there are missing, if it can do that."""
    leads = wanted["leads"]
    if wanted["any set of leads"] and set(names) <= set(leads):
        full = np.full((len(leads), x.shape[1]), np.nan)
        full[[leads.index(name) for name in names]] = x
        return full
    if len(x) != len(leads):
        raise SystemExit(f"The model wants {leads}; the file has {names}.")
    return x


def prepare(x, rate, steps):
    """What the file asks for before its graph: bridge gaps, resample, hide them again."""
    step = next(step for step in steps if step["step"] == "resample")
    if "band" in step:
        raise SystemExit("The model wants a band-pass, which this example leaves out.")
    target, lower = step["to"], min(rate, step["to"])
    if rate == target:
        return x.astype(np.float32)
    missing, samples = ~np.isfinite(x), np.arange(x.shape[1])
    bridged = np.nan_to_num(x)
    for row, hole in zip(bridged, missing, strict=True):
        if not hole.all():
            row[hole] = np.interp(samples[hole], samples[~hole], row[~hole])
    # Reflected edges, so long that the filter forgets them, of lengths that both rates have.
    down = (Fraction(rate) / Fraction(target)).limit_denominator(1000).numerator
    before = math.ceil(5.7 / (math.pi * step["width"] * lower) * rate / down) * down
    after = before + -(len(samples) + 2 * before) % down
    extended = np.pad(bridged, ((0, 0), (before, after)), "symmetric")
    old = extended.shape[1]
    new = round(old * target / rate)
    spectrum = np.fft.rfft(extended)[:, : min(old, new) // 2 + 1]
    f = np.arange(spectrum.shape[1]) * rate / old / (lower / 2)
    cutoff, width = step["cutoff"], step["width"]
    edge = np.array([math.erfc((one - cutoff) / (width * math.sqrt(2))) / 2 for one in f])
    gain = np.where(f >= 1, 0, np.where(f <= cutoff - 6 * width, 1, edge))
    count = math.ceil(round(len(samples) * target / rate, 6))
    first = round(before * target / rate)
    y = np.fft.irfft(spectrum * gain, new)[:, first : first + count] * (new / old)
    for row, hole in zip(y, missing, strict=True):
        for lost in samples[hole] / rate:
            row[np.abs(np.arange(count) / target - lost) < 1 / lower - 1e-9] = math.nan
    return y.astype(np.float32)


def embed(session, recipe, x):
    """Cut into windows, run them one by one as they would come in, average by what is there."""
    length = recipe["windows"]["samples"]
    starts = range(0, max(1, x.shape[1]), length)
    pieces = [x[:, start : start + length] for start in starts]
    results, weights, seconds = [], [], []
    for piece in pieces:
        window = np.pad(piece, ((0, 0), (0, length - piece.shape[1])), constant_values=np.nan)
        begin = time.perf_counter()
        results.append(session.run(["embedding"], {"signal": window[None]})[0][0])
        seconds.append(time.perf_counter() - begin)
        weights.append(np.isfinite(window).any(axis=0).mean())
    weights = np.array(weights)
    return weights @ np.array(results) / max(weights.sum(), 1e-9), np.array(seconds)


def picture(x, rate, z, path):
    """Ten seconds of the first lead that is there, and the embedding below it, as SVG."""
    lead = np.isfinite(x).any(axis=1).argmax()
    shown = x[lead, : int(10 * rate)]
    scale = 60 / max(1e-3, np.nanmax(np.abs(shown - np.nanmedian(shown))))
    height = 90 - scale * (shown - np.nanmedian(shown))
    there = np.isfinite(shown)
    line = "".join(
        f"{'L' if i and there[i - 1] else 'M'}{20 + 960 * i / len(shown):.1f} {height[i]:.1f}"
        for i in np.flatnonzero(there)
    )
    width, high = 960 / len(z), 60 / max(1e-6, float(np.abs(z).max()))
    bars = "".join(f"M{20 + i * width:.1f} 250v{-v * high:.2f}" for i, v in enumerate(z))
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 330" font-family="sans-serif" '
        'font-size="14"><rect width="1000" height="330" fill="white"/>'
        f'<path fill="none" stroke="black" d="{line}"/>'
        f'<path stroke="#b3202c" stroke-width="{0.8 * width:.2f}" d="{bars}"/>'
        f'<text x="20" y="20">ECG, {len(shown) / rate:.1f} s</text>'
        f'<text x="20" y="185">its embedding, {len(z)} values</text></svg>\n',
        encoding="utf-8",
    )


def main():
    """Read the command line, embed, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("ecg", type=Path)
    words = parser.parse_args()
    session, recipe = open_model(words.model)
    wanted = recipe["input"]
    names, given, rate = read(words.ecg)
    x = placed(names, given, wanted)
    prepared = prepare(x, rate, recipe["before the graph"])
    z, seconds = embed(session, recipe, prepared)
    out = words.ecg.with_suffix(".embedding.csv")
    np.savetxt(out, z[None], delimiter=",", fmt="%.7g")
    picture(prepared, wanted["rate"], z, out.with_suffix(".svg"))
    print(f"{x.shape[1] / rate:.1f} s of {', '.join(names)} at {rate:g} Hz")
    spent = 1e3 * np.median(seconds)
    print(f"{len(z)} values; {spent:.1f} ms for a window of {recipe['windows']['seconds']:g} s")
    print(f"Written: {out} and {out.with_suffix('.svg')}")


if __name__ == "__main__":
    main()
