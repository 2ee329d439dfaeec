"""Commands around trained networks: cross-validate, robustness, calibration, errors, rules, ensemble, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lgg_monai.commands.progress import patients_done
from lgg_monai.words import counted

Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN [RUN ...]",
        help="A run folder, several that were tested on different patients, the folder of a cross-validation, or a "
        "bundle's config with shipped weights, such as bundles/unet.yaml.",
    ),
]
Output = Annotated[Path, typer.Option(metavar="DIR", help="A new folder for the results.")]
DatasetDir = Annotated[
    Path | None,
    typer.Option("--dataset_dir", "--dataset-dir", metavar="DIR", help="The patients; default: those of the training."),
]
Subset = Annotated[str | None, typer.Option(help="test, val, train or all; default: test.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda:0; default: the first GPU, else the CPU.")]


def cross_validate(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the cross-validation; a run folder a fold.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- --key value ...]", help="Overrides of the bundle's config.", show_default=False),
    ] = None,
    bundle: Annotated[str, typer.Option(help="unet, pspnet, plain_unet, or a config file.")] = "unet",
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    fold: Annotated[
        list[int] | None, typer.Option(help="Run this fold alone (or several): one a process, GPU or machine.")
    ] = None,
    dataset_dir: Annotated[
        Path | None,
        typer.Option("--dataset_dir", "--dataset-dir", metavar="DIR", help="The patients; default: as the bundle."),
    ] = None,
    leave_one_site_out: Annotated[
        bool, typer.Option("--leave-one-site-out", help="A fold a site instead of --folds.")
    ] = False,
    keep_probabilities: Annotated[
        bool, typer.Option("--keep-probabilities", help="Keep each patient's out-of-fold map, one byte a voxel.")
    ] = False,
) -> None:
    """Train and score every fold, and pool the scores: each patient once, by a model that never saw it.

    Repeat the command to go on after an interruption: finished folds are passed over, unfinished ones resumed. The
    folds may be run by several processes or machines with --fold; put the folders fold_<k> (of each at least run.json,
    datalist.json, history.csv and evaluation) into one folder, and the same command merges them.
    """
    from lgg_monai.crossval.run import cross_validate as run
    from lgg_monai.engines.summary import format_summary

    summary, waiting = run(
        bundle, output, folds, fold or [], dataset_dir, leave_one_site_out, keep_probabilities, overrides or []
    )
    if summary is None:
        typer.echo(f"folds still to run: {', '.join(map(str, waiting))}; the scores are merged when all are there")
        return
    typer.echo(format_summary(summary))
    for row in summary["by_fold"]:
        name = f"fold {row['fold']}" + (f" ({row['site']})" if "site" in row else "")
        typer.echo(
            f"{name:14} volume Dice {row['scores']['volume_dice']:.3f} over {counted(row['patients'], 'patient')}"
        )
    typer.echo(f"{'PHANTOM: ' if summary['phantom'] else ''}written to {output}")


def robustness(
    source: Sources,
    output: Output,
    dataset_dir: DatasetDir = None,
    subset: Subset = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Weights to use instead of the run's best.")] = None,
    device: Device = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="This degradation alone, such as 'FLAIR alone' or noise; several times for several."
        ),
    ] = None,
) -> None:
    """Score patients with degraded scans: sequences missing, other intensities, noise, positions and grids."""
    from lgg_monai.robustness.degradations import DEGRADATIONS, choose_degradations
    from lgg_monai.robustness.table import measure_robustness

    chosen = choose_degradations(only) if only else DEGRADATIONS
    with patients_done() as progress:
        content = measure_robustness(source, output, dataset_dir, subset, checkpoint, device, chosen, progress=progress)
    for row in content["table"]:
        name = f"{row['degradation']} {row['severity']}".strip()
        typer.echo(f"{name:28}{row['mean_dice']:.3f}  {row['difference']:+.3f}{_interval(row['low'], row['high'])}")
    typer.echo(f"{'PHANTOM: ' if content['phantom'] else ''}mean volume Dice and difference to clean; see {output}")


def calibration(
    source: Sources,
    output: Output,
    dataset_dir: DatasetDir = None,
    subset: Subset = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="Weights instead of the run's best; give it several times for several.")
    ] = None,
    device: Device = None,
) -> None:
    """Say whether probabilities can be believed, and whether uncertainty finds the patients a model fails on."""
    from lgg_monai.robustness.trust import measure_trust

    with patients_done() as progress:
        content = measure_trust(source, output, dataset_dir, subset, checkpoint or [], device, progress)
    _print_errors(content["calibration"])
    if content["temperature"]:
        own = content["temperature"]
        typer.echo(f"logits divided by {own['value']:.2f} ({own['lowest']:.2f} to {own['highest']:.2f} by parts):")
        _print_errors(own["calibration"])
    for name, own in content["uncertainty"].items():
        correlation = "-" if own["rank_correlation"] is None else f"{own['rank_correlation']:+.2f}"
        rise = "-" if own["rise"] is None else f"{own['rise']:+.3f}"
        typer.echo(
            f"{name:26}rank correlation with Dice {correlation}; mean Dice {rise} "
            f"without the least certain {own['referred']} of {own['n']}"
        )
    typer.echo(f"{'PHANTOM: ' if content['phantom'] else ''}written to {output}")


def errors(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN [RUN ...]",
            help="A scored run folder, several that were tested on different patients, or a cross-validation's folder.",
        ),
    ],
    output: Output,
    dataset_dir: DatasetDir = None,
) -> None:
    """Say what errors consist of (missed or added parts, slices, areas, rim), and what mending each would bring."""
    from lgg_monai.robustness.error_report import explain_errors

    with patients_done() as progress:
        content = explain_errors(source, output, dataset_dir, progress)
    mean = content["volume_dice"]["mean"]
    typer.echo(f"{counted(content['patients'], 'test patient')}, mean volume Dice {mean:.3f}")
    typer.echo(f"{'errors':14}{'share':>8}{'patients':>10}  mean volume Dice if they were mended")
    for row in content["table"]:
        share = "-" if row["share"] is None else f"{row['share']:.1%}"
        typer.echo(
            f"{row['errors']:14}{share:>8}{row['patients']:>10}  "
            f"{row['mean_dice_mended']:.3f}  {row['gain']:+.3f}{_interval(row['low'], row['high'])}"
        )
    parts = content["parts"]
    typer.echo(
        f"{parts['missed_parts']} of {parts['label_parts']} tumour parts missed, "
        f"{parts['added_parts']} of {parts['predicted_parts']} predicted parts touch no tumour"
    )
    typer.echo(f"{'PHANTOM: ' if content['phantom'] else ''}written to {output}")


def rules(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="CV",
            help="A cross-validation's folder with kept probabilities, or runs that were tested on different patients.",
        ),
    ],
    output: Output,
    dataset_dir: DatasetDir = None,
) -> None:
    """Choose threshold and smallest parts of masks on out-of-fold probabilities, and judge the choice on others."""
    from lgg_monai.robustness.mask_rules import choose_rule

    with patients_done() as progress:
        content = choose_rule(source, output, dataset_dir, progress=progress)
    for title in ("present", "best", "cross_fitted"):
        own = content[title]
        rule = ", ".join(f"{name} {own[name]}" for name in content["rule"] if name in own)
        difference = f"{own['difference']:+.4f}{_interval(own['low'], own['high'], 4)}"
        typer.echo(f"{title:14}{own['mean_dice']:.4f}  {difference}  {rule}".rstrip())
    typer.echo(f"{'PHANTOM: ' if content['phantom'] else ''}mean volume Dice and difference to present; see {output}")


def ensemble(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="CV CV [CV ...]",
            help="Cross-validations' folders with kept probabilities, or runs that were tested on the same patients.",
        ),
    ],
    output: Output,
    dataset_dir: DatasetDir = None,
) -> None:
    """Score the mean probability of models beside each of them, on patients that none of them saw."""
    from lgg_monai.robustness.ensemble import score_ensemble

    with patients_done() as progress:
        content = score_ensemble(source, output, dataset_dir, progress=progress)
    scored = {**content["members"], "ensemble": content["ensemble"]}
    width = max(map(len, scored))
    typer.echo(
        f"{counted(content['patients'], 'patient')}, volume Dice of each model, and what the ensemble adds to it"
    )
    for label, own in scored.items():
        dice, line = own["volume_dice"], ""
        if label in content["members"]:
            entry = own["difference"]["volume_dice"]
            low, high = entry["ci95"] or (None, None)
            line = (
                f"  {entry['difference']:+.3f}{_interval(low, high)}  {entry['higher']} better, {entry['lower']} worse"
            )
        typer.echo(f"{label:{width}}  {dice['mean']:.3f}, median {dice['median']:.3f}{line}")
    typer.echo(f"{'PHANTOM: ' if content['phantom'] else ''}written to {output}")


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN [RUN ...]", help="Folders of runs or cross-validations; the first is the reference."
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for report.html, numbers and plots.")],
    allow_different_data: Annotated[
        bool, typer.Option("--allow-different-data", help="Compare runs of other data, splits or seeds, and stamp it.")
    ] = False,
    dataset_dir: DatasetDir = None,
) -> None:
    """Compare finished runs: learning, cost, quality on test patients, pictures and findings on one page."""
    from lgg_monai.extras import require_packages

    require_packages("compare", "jinja2", "matplotlib", what="drawing the results")  # before what imports them
    from lgg_monai.analysis.comparison import compare as write

    typer.echo(f"written to {write(runs, output, allow_different_data, dataset_dir=dataset_dir)}")


def _print_errors(calibration: dict[str, Any]) -> None:
    for region, own in calibration.items():
        low, high = own["ece_ci95"] or (None, None)
        error = "-" if own["ece"] is None else f"{own['ece']:.4f}"
        typer.echo(f"expected calibration error, {region:5}{error}{_interval(low, high, 4)}")


def _interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """Write an interval for a line of text; nothing where there is none."""
    return "" if low is None or high is None else f"  [{low:.{digits}f}, {high:.{digits}f}]"
