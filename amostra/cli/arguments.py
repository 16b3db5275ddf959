"""The command line: what can be said, and which function of `commands` does it."""

import argparse
from collections.abc import Sequence

from amostra.cli import commands
from amostra.exchange import DEFAULT_URL, VERSION

_PICTURES_OUT = "where to save: .png and other pictures, .npy for the numbers, - for PNG into a pipe"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Raises SystemExit where they are no command."""
    defaults = argparse.Namespace(url=None, key=None, timeout=60.0, retries=3, json=False)
    return _parser().parse_args(arguments, defaults)


def _parser() -> argparse.ArgumentParser:
    # Said before the command or after it: what is left out there changes nothing of what was said here.
    everywhere = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    everywhere.add_argument("--url", help=f"address of the service (AMOSTRA_URL, or {DEFAULT_URL})")
    everywhere.add_argument("--key", help="API key (AMOSTRA_API_KEY, which no list of processes shows)")
    everywhere.add_argument("--timeout", type=float, metavar="SECONDS", help="until an answer is of no use (60)")
    everywhere.add_argument("--retries", type=int, metavar="N", help="more tries where the service is busy or away (3)")
    everywhere.add_argument("--json", action="store_true", help="JSON for scripts")
    top = argparse.ArgumentParser("amostra", description="Ask a service of Amostra.", parents=[everywhere])
    top.add_argument("--version", action="version", version=f"amostra {VERSION}")
    of_top = top.add_subparsers(required=True, metavar="COMMAND")

    def command(run: commands.Command, name: str, about: str, model: bool = True) -> argparse.ArgumentParser:
        made = of_top.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", parents=[everywhere])
        made.set_defaults(run=run)
        if model:
            made.add_argument("-m", "--model", help="name, or name@version; the task's default if left out")
        return made

    models = command(commands.models, "models", "list the models, or describe one", model=False)
    models.add_argument("name", nargs="?")
    models.add_argument("--all", action="store_true", help="refused ones and other versions too")

    draw = command(commands.draw, "draw", "draw pictures of a class, or of whatever the model draws")
    draw.add_argument("what", nargs="?", help="a class, such as 7")
    _drawing(draw)
    draw.add_argument("--seeds", type=int, nargs="+", help="walk from each seed's picture to the next's")

    sample = command(commands.sample, "sample", "draw rows of a table, as CSV")
    sample.add_argument("-n", "--n", type=int, help="how many (1)")
    sample.add_argument("--seed", type=int, help="the same seed gives the same rows")
    sample.add_argument("--seeds", type=int, nargs="+", help="walk from each seed's row to the next's")
    sample.add_argument("--label", type=int, help="a class by its number, for models that have classes")
    sample.add_argument("-o", "--output", metavar="FILE", help="where to save; printed if left out")

    clean = command(commands.clean, "clean", "remove noise from pictures of one size")
    restore = command(commands.restore, "restore", "undo what the model undoes: fill, enlarge, colour …")
    for one in (clean, restore):
        one.add_argument("files", nargs="+", metavar="FILE")
        one.add_argument("--sigma", type=float, help="standard deviation of the noise, for values in [0, 1]")
        one.add_argument("-o", "--output", metavar="FILE", help=_PICTURES_OUT)

    edit = command(commands.edit, "edit", "draw a part of a picture anew")
    edit.add_argument("file", metavar="FILE", help="a picture; its transparent pixels are drawn where there is no mask")
    edit.add_argument("what", nargs="?", help="a class, such as 7")
    edit.add_argument("--mask", metavar="FILE", help="a picture: white or transparent pixels are drawn")
    _drawing(edit)

    score = command(commands.score, "score", "say how unusual pictures, tables or texts are")
    _items(score)
    rule = score.add_mutually_exclusive_group()
    rule.add_argument("--alpha", type=float, help="flag at most this share of what is normal (0.05)")
    rule.add_argument("--fdr", type=float, help="or: at most this share of the flagged is a false alarm")
    score.add_argument("--statistic", help="which of the model's statistics decides")
    score.add_argument("--explain", action="store_true", help="say where the surprise lies")
    score.add_argument("-o", "--output", metavar="FILE", help="with --explain: save the pictures with their surprise")

    embed = command(commands.embed, "embed", "make vectors of pictures, tables or texts")
    _items(embed)
    embed.add_argument("-o", "--output", metavar="FILE", help="save the vectors as .npy")

    write = command(commands.write, "write", "complete a text, as it is written")
    write.add_argument("prompt", nargs="?", default="")
    write.add_argument("--max-tokens", type=int)
    write.add_argument("--temperature", type=float, help="0 takes the likeliest token")
    write.add_argument("--top-p", type=float)
    write.add_argument("--top-k", type=int)
    write.add_argument("--seed", type=int, help="the same seed gives the same text")
    write.add_argument("--stop", action="append", metavar="TEXT", help="end before this; may be given several times")
    write.add_argument("--echo", action="store_true", help="the prompt first")

    drift = command(commands.drift, "drift", "how far a model's p-values are from those of normal data", model=False)
    drift.add_argument("model")
    return top


def _drawing(of: argparse.ArgumentParser) -> None:
    of.add_argument("-n", "--n", type=int, help="how many (1)")
    of.add_argument("--label", type=int, help="a class by its number")
    of.add_argument("--seed", type=int, help="the same seed gives the same pictures")
    of.add_argument("--steps", type=int, help="noise levels, for models that take them")
    of.add_argument("--sampler")
    of.add_argument("--guidance", type=float, help="how far to go towards the class; 1 is without guidance")
    of.add_argument("--temperature", type=float, help="for models that draw value by value")
    of.add_argument("-o", "--output", metavar="FILE", help=_PICTURES_OUT)


def _items(of: argparse.ArgumentParser) -> None:
    of.add_argument("files", nargs="*", metavar="FILE", help="pictures, .npy, CSV, Arrow, Parquet or text files")
    of.add_argument("--text", action="append", default=[], help="a text; may be given several times")
