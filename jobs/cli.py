"""The command line.

    python -m jobs run score    --model mnist-scores --input s3://bucket/images/ --output s3://bucket/scores/
    python -m jobs run generate --model mnist-gan --rows 1000000 --output synthetic/ --seed 1
    python -m jobs run complete --model shakespeare-gpt --input requests.jsonl --output answers/ --dry-run

Exit codes: 0 done, 1 failed, 2 bad usage, 3 too many bad rows, 75 interrupted: the same command goes on where it stood.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from jobs.cluster import Workers
from jobs.errors import JobError
from jobs.estimate import estimate
from jobs.job import ROWS, Job
from jobs.plan import plan
from jobs.run import Terms, run
from service.samplers.noise import MAX_SEED
from service.settings import UnknownSetting, load_settings

_PARAMETERS = ("alpha", "statistic", "sigma", "image_format", "column", "keep", "label", "class", "steps", "sampler")
_WAYS = ("guidance", "temperature")


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code."""
    options = parsed(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        job, terms = _job(options), _terms(options)
        if options.dry_run:
            _print_plan(job, terms)
        else:
            print(run(job, terms))
    except (UnknownSetting, ValidationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command. Exits with 2 where it cannot be understood."""
    return _parser().parse_args(arguments)


def _print_plan(job: Job, terms: Terms) -> None:
    planned = plan(job)
    found = estimate(planned)
    workers = min(terms.workers.count, found.shards)
    seconds = found.seconds(workers)
    print(f"{job.task} with {planned.model.id}@{planned.model.version}: {found.rows:,} rows in {found.shards:,} shards")
    print(f"a worker answered {found.tried:,} rows, {found.bad:,} of them bad, at {found.rate:,.0f} rows/s")
    print(f"{workers} workers: about {seconds:,.0f} s, {found.bytes / 2**20:,.1f} MiB; nothing was written")


def _job(options: argparse.Namespace) -> Job:
    given = {name: getattr(options, name, None) for name in (*_PARAMETERS, *_WAYS)}
    return Job(
        task=options.task,
        model=options.model,
        store=(options.models or load_settings().models).resolve(),
        input=getattr(options, "input", None),
        output=options.output,
        rows=getattr(options, "rows", 0),
        seed=options.seed,
        device="cuda" if options.gpus_per_worker else "cpu",
        shard_rows=options.shard_rows or 0,
        parameters={name: value for name, value in given.items() if value is not None},
    )


def _terms(options: argparse.Namespace) -> Terms:
    count = options.workers or os.cpu_count() or 1
    return Terms(
        Workers(count, options.address, options.gpus_per_worker),
        options.max_bad_rows,
        options.quiet,
        options.metrics_port,
        options.pushgateway,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="run")
    run_command = commands.add_parser("run", help="run a job, or go on with one that was interrupted")
    tasks = run_command.add_subparsers(dest="task", required=True, metavar="task")
    shared = _shared()
    _generate(tasks.add_parser("generate", parents=[shared], help="draw labelled images"))
    _denoise(tasks.add_parser("denoise", parents=[shared], help="remove noise from images"))
    _score(tasks.add_parser("score", parents=[shared], help="how normal rows, images or texts are"))
    _columns(_input(tasks.add_parser("embed", parents=[shared], help="a vector of each row, image or text")))
    _input(tasks.add_parser("complete", parents=[shared], help="complete prompts, in the shape of OpenAI's Batch API"))
    return parser


def _shared() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--model", required=True, help="name, or name@version")
    parser.add_argument("--models", type=Path, help="the model store (default $AMOSTRA_MODELS, or exported/)")
    parser.add_argument("--output", required=True, metavar="URI", help="a folder: a path, s3://…, any fsspec URI")
    parser.add_argument("--seed", type=_seed, default=0, help="of the job; each row's follows from it (default 0)")
    parser.add_argument("--workers", type=_positive, help="one core each (default: this machine's cores)")
    parser.add_argument("--gpus-per-worker", type=float, default=0.0, metavar="N", help="run graphs on GPUs")
    parser.add_argument("--address", help="of a Ray cluster (default: this machine)")
    parser.add_argument(
        "--shard-rows", type=_positive, metavar="N", help=f"rows of a part file (default by task: {ROWS})"
    )
    parser.add_argument("--max-bad-rows", type=_count, metavar="N", help="give up over it (default: go on to the end)")
    parser.add_argument("--dry-run", action="store_true", help="plan, try some rows and estimate; write nothing")
    parser.add_argument("--metrics-port", type=int, metavar="PORT", help="answer Prometheus there while it runs")
    parser.add_argument("--pushgateway", metavar="URL", help="push metrics there while it runs")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the summary")
    return parser


def _input(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--input", required=True, metavar="URI", help="a file, a folder or a pattern")
    return parser


def _columns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--column", help="of images or texts in a table (default: image, text)")
    parser.add_argument("--keep", type=_names, metavar="A,B", help="columns of the table that go through to the answer")


def _generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=_positive, required=True, help="how many images")
    parser.add_argument("--label", type=_count, help="a class index (default: classes take turns)")
    parser.add_argument("--class", help="a class name, instead of --label")
    parser.add_argument("--steps", type=_positive, help="noise levels, for models that take them")
    parser.add_argument("--sampler", help="for models that have several")
    parser.add_argument("--guidance", type=float, help="how far to go towards the class")
    parser.add_argument("--temperature", type=float, help="for models that draw value by value")
    _image_format(parser)


def _denoise(parser: argparse.ArgumentParser) -> None:
    _columns(_input(parser))
    parser.add_argument("--sigma", type=float, help="noise standard deviation, images in [0, 1] (default: estimated)")
    _image_format(parser)


def _score(parser: argparse.ArgumentParser) -> None:
    _columns(_input(parser))
    parser.add_argument("--alpha", type=_share, help="rows with p_value <= alpha are anomalies (default 0.05)")
    parser.add_argument("--statistic", help="which of the model's decides (default: its own)")


def _image_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image-format", choices=("png", "npy"), default="png", help="8 bits, or float32 exactly")


def _number(text: str, low: int, what: str) -> int:
    if not text.isdecimal() or int(text) < low:
        raise argparse.ArgumentTypeError(f"expected {what}, found {text!r}")
    return int(text)


def _positive(text: str) -> int:
    return _number(text, 1, "a number above 0")


def _count(text: str) -> int:
    return _number(text, 0, "a number from 0 on")


def _seed(text: str) -> int:
    if (found := _number(text, 0, "a seed")) > MAX_SEED:
        raise argparse.ArgumentTypeError(f"expected a seed up to {MAX_SEED}, found {found}")
    return found


def _share(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, found {text!r}")
    return found


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
