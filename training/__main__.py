"""The command line.

    python -m training train shakespeare-gpt --data-root ~/data --train.steps 500
    python -m training export shakespeare-gpt
    python -m training evaluate exported/shakespeare-gpt/1
    python -m training run shakespeare-gpt            # all three
    python -m training calibrate exported/mnist-flow/1 --data my-pictures/
    python -m training adopt my-llama-onnx --name my-llama   # a decoder that Hugging Face Optimum exported
    python -m training sign exported/mnist-flow/1 --key private.pem
    python -m training report --output report/index.html   # a page about all exported models

`--help` lists the flags; whatever else is given overrides the recipe.
"""

import argparse
import logging
import os
import sys
import warnings
from pathlib import Path

EXPORTED = Path("exported")


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="python -m training",
        description="Train a recipe, export it to ONNX, evaluate what was exported.",
        epilog="Every hyper-parameter of the recipe can be overridden: --model.width 128 --train.steps 500.",
    )
    commands = root.add_subparsers(dest="command", required=True)
    for name, what in (
        ("train", "train a recipe, or go on with a killed run"),
        ("export", "write the trained recipe to ONNX, through the parity gate"),
        ("evaluate", "measure an exported model and write the figures into its manifest and README.md's table"),
        ("run", "train, export and evaluate"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("recipe", help="a recipe's name, or a path to one; for evaluate, a model directory too")
        data_root = os.environ.get("AMOSTRA_DATA")
        command.add_argument("--data-root", type=Path, default=data_root, help="folder of datasets (AMOSTRA_DATA)")
        command.add_argument("--run-dir", type=Path, help="checkpoints and logs (default: runs/<recipe>)")
        command.add_argument("--exported", type=Path, default=EXPORTED, help="where models are written")
        command.add_argument("--readme", type=Path, help="a page whose table of models is renewed (default: README.md)")
        command.add_argument("--threads", type=int, help="threads of torch on the CPU")
        command.add_argument("--accelerator", default="auto", help="as Lightning's Trainer has it")
        command.add_argument("--devices", default="auto", help="as Lightning's Trainer has it")
        command.add_argument("--strategy", default="auto", help="as Lightning's Trainer has it")
        command.add_argument("--no-progress", action="store_true", help="no progress bar")
    calibrate = commands.add_parser("calibrate", help="renew a model's p-values from normal data of your own")
    calibrate.add_argument("model", type=Path, help="a model directory, such as exported/mnist-flow/1")
    calibrate.add_argument(
        "--data", type=Path, required=True, help="a folder of pictures, .npy, .csv, .parquet or .txt"
    )
    calibrate.add_argument("--size", type=int, default=10_000, help="how many items to use at most")
    adopt = commands.add_parser("adopt", help="make a model directory of a decoder that Hugging Face Optimum exported")
    adopt.add_argument("folder", type=Path, help="what optimum-cli wrote: model.onnx, tokenizer.json, config.json …")
    adopt.add_argument("--name", required=True, help="the model's name, and its directory's")
    adopt.add_argument("--version", default="1")
    adopt.add_argument("--description", default="", help="a sentence for the model's card")
    adopt.add_argument("--licence", default="that of the model")
    adopt.add_argument("--context", type=int, help="the most tokens in a text (default: the model's own, up to 2048)")
    adopt.add_argument("--exported", type=Path, default=EXPORTED, help="where models are written")
    sign = commands.add_parser("sign", help="sign a model, for services that serve signed ones only")
    sign.add_argument("model", type=Path, help="a model directory, such as exported/mnist-flow/1")
    sign.add_argument("--key", type=Path, required=True, help="an Ed25519 private key as PEM")
    report = commands.add_parser("report", help="write one page about all exported models")
    report.add_argument("--exported", type=Path, default=EXPORTED, help="where the models are")
    report.add_argument("--output", type=Path, default=Path("report/index.html"), help="the page")
    return root


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 where it went well, 2 where the input was at fault."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads cost a busy machine four fifths of its speed
    options, overrides = parser().parse_known_args(arguments)
    warnings.filterwarnings("ignore", module="lightning")
    from training.commands import INPUT_ERRORS, run

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no advertisements

    try:
        run(options, overrides)
    except INPUT_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
