"""Commands about model checkpoints: slice."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.cli import show
from pipeline.cli.options import Json
from pipeline.errors import PermanentError, UsageError, WorldError


def add_to(app: typer.Typer) -> None:
    model = typer.Typer(help="Checkpoints of Gemma 3n on this machine.", no_args_is_help=True)
    model.callback()(_group)
    model.command("slice")(slice_model)
    app.add_typer(model, name="model")


def _group() -> None:
    """Keeps `slice` a command with a name while it is the only one."""


def slice_model(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A checkpoint directory.", show_default=False)],
    target: Annotated[Path, typer.Argument(metavar="DST", help="A directory that is not there yet.")],
    variant: Annotated[str, typer.Option("--variant", help="Its size, such as e2b.", show_default=False)],
    sizes: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads the annotation at run time
        typer.Option("--sizes", help="A file of sizes by name. Default: SRC/variants.json, if there is one."),
    ] = None,
    json: Json = False,
) -> None:
    """Write a smaller size of a Gemma 3n checkpoint as a checkpoint of its own."""
    try:
        from pipeline.engines.gemma3n import slicing
    except ImportError as error:
        raise WorldError(f'slicing needs torch and transformers: pip install "reelmill[gemma]" ({error})') from error
    try:
        sliced = slicing.slice_checkpoint(source, target, slicing.choose(source, variant, sizes))
    except PermanentError as error:
        raise UsageError(str(error)) from error
    if json:
        show.print_json(
            {
                "model": str(sliced.path),
                "variant": sliced.variant,
                "layers": sliced.num_layers,
                "parameters": sliced.num_parameters,
                "bytes": sliced.num_bytes,
            }
        )
    else:
        print(
            f"{sliced.path}: {sliced.variant}, {sliced.num_layers} layers, "
            f"{sliced.num_parameters / 1e6:,.1f} million parameters, {sliced.num_bytes / 1e9:,.2f} GB"
        )
