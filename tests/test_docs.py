"""What README, docs and model cards say of figures, files and options agrees with these."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from lgg_monai.analysis.paired import paired_difference
from lgg_monai.engines.summary import METRICS, summarise

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "docs/results"
TEXTS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "bundles/*/docs/*.md")
    for path in REPOSITORY.glob(pattern)
)
CARDS = {"unet": "unet_cv", "pspnet": "pspnet_cv", "plain_unet": "plain_unet_cv"}
TITLES = {"unet": "U-Net", "pspnet": "PSPNet", "plain_unet": "plain UNet"}
HEADLINE = r"^\|.* \| .*`docs/results/(\w+_cv)/`, commit `\w+` \|$"
FIGURES = [
    (name, line[0], line[1])
    for name in ("README.md", "docs/experiments.md")
    for line in re.findall(rf"({HEADLINE})", (REPOSITORY / name).read_text(encoding="utf-8"), re.MULTILINE)
]


def text(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def patients(run: str, table: str = "patients.csv") -> list[dict[str, Any]]:
    with (RESULTS / run / table).open(encoding="utf-8", newline="") as file:
        return [{key: value or None for key, value in row.items()} for row in csv.DictReader(file)]


def anchors(path: Path) -> set[str]:
    """What the headings of a page are called in links to them, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def interval(bounds: list[float], sign: str = "", digits: int = 3) -> str:
    return " to ".join(f"{bound:{sign}.{digits}f}" for bound in bounds)


def test_there_are_headline_figures_to_check() -> None:
    for name in ("README.md", "docs/experiments.md"):
        assert {*CARDS.values(), "ensemble_cv"} <= {run for where, _, run in FIGURES if where == name}


@pytest.mark.parametrize(("line", "run"), [pytest.param(*row[1:], id=f"{row[0]} {row[2]}") for row in FIGURES])
def test_headline_figures_are_those_of_the_files(line: str, run: str) -> None:
    rows = patients(run)
    dice = summarise(rows)["volume_dice"]
    assert f"| {dice['mean']:.3f} ({interval(dice['ci95'])}) | {dice['median']:.3f} |" in line.replace("**", "")
    if run == "plain_unet_cv":
        return
    difference = paired_difference("volume_dice", patients("plain_unet_cv"), rows)
    assert f"| {difference['difference']:+.3f} ({interval(difference['ci95'], '+')}) |" in line


@pytest.mark.parametrize(("bundle", "run"), [*CARDS.items(), ("ensemble", "ensemble_cv")])
def test_a_model_card_and_its_experiments_begin_with_the_figure_of_the_files(bundle: str, run: str) -> None:
    dice = summarise(patients(run))["volume_dice"]
    card, page = text(f"bundles/{bundle}/docs/README.md"), text(f"docs/experiments/{bundle}.md")
    assert f"**Mean volume Dice {dice['mean']:.3f}** ({interval(dice['ci95'])})" in card
    assert f"**{dice['mean']:.3f}** ({interval(dice['ci95'])})" in " ".join(page.split())


@pytest.mark.parametrize(("bundle", "run"), CARDS.items())
def test_a_model_cards_table_is_that_of_the_files(bundle: str, run: str) -> None:
    card = text(f"bundles/{bundle}/docs/README.md")
    rows = patients(run)
    summary = summarise(rows)
    for name in METRICS:
        entry, digits = summary[name], 2 if name == "hd95_px" else 3
        median = "" if entry["median"] is None else f"{entry['median']:.{digits}f}"
        assert (
            f"| `{name}` | {entry['mean']:.{digits}f} | {median} | {interval(entry['ci95'], digits=digits)} |" in card
        )
    sites = summary["by_site"].items()
    assert ", ".join(f"{site} {entry['mean']:.3f} ({entry['n']})" for site, entry in sites) in card
    for fold in sorted({row["fold"] for row in rows}):
        assert f"{summarise([row for row in rows if row['fold'] == fold])['volume_dice']['mean']:.3f}" in card
    scores = [float(row["volume_dice"]) for row in rows]
    counts = [sum(score >= limit for score in scores) for limit in (0.9, 0.8)]
    assert f"{counts[0]} of the {len(rows)} patients reach 0.9, {counts[1]} reach 0.8" in " ".join(card.split())


def compared(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> str:
    """Cells of a table: mean (interval) and median of the rows, those of the others, difference, better and worse."""
    dice, other = (summarise(some)["volume_dice"] for some in (rows, others))
    entry = paired_difference("volume_dice", others, rows)
    counts = f"{entry['higher']}, {entry['lower']}"
    if len(rows) == 1:  # of which there is no interval
        return f"{dice['mean']:.3f} | {other['mean']:.3f} | {entry['difference']:+.3f} | {counts}"
    return (
        f"{dice['mean']:.3f} ({interval(dice['ci95'])}), {dice['median']:.3f} | {other['mean']:.3f}, "
        f"{other['median']:.3f} | {entry['difference']:+.3f} ({interval(entry['ci95'], '+')}) | {counts}"
    )


@pytest.mark.parametrize("bundle", CARDS)
def test_what_is_said_of_sites_left_out_is_that_of_the_files(bundle: str) -> None:
    page = text(f"docs/experiments/{bundle}.md").replace("**", "")
    mixed = {row["patient"]: row for row in patients(CARDS[bundle])}
    sites = {
        path.stem[-2:]: patients(f"{bundle}_sites", path.name)
        for path in sorted((RESULTS / f"{bundle}_sites").glob("patients_*.csv"))
    }
    everyone = [row for rows in sites.values() for row in rows]
    for name, rows in {**sites, r"\w+ sites": everyone}.items():
        cells = compared(rows, [mixed[row["patient"]] for row in rows])
        assert re.search(rf"^\| {name} \| {len(rows)} \| \d* ?\| {re.escape(cells)} \|$", page, re.MULTILINE), cells
    means = [f"{site} {summarise(rows)['volume_dice']['mean']:.3f}" for site, rows in sites.items()]
    together = f"{', '.join(means)}, together {summarise(everyone)['volume_dice']['mean']:.3f}"
    assert together in " ".join(text(f"bundles/{bundle}/docs/README.md").split())
    entry = paired_difference("volume_dice", [mixed[row["patient"]] for row in everyone], everyone)
    loss = f"{TITLES[bundle]} {entry['difference']:+.3f} ({interval(entry['ci95'], '+')})"
    assert loss in text("docs/experiments.md")


def test_what_is_said_of_fifty_epochs_is_that_of_the_files() -> None:
    page = " ".join(text("docs/experiments/unet_variations.md").replace("**", "").split())
    longer, usual = patients("unet_50_epochs_cv"), patients("unet_cv")
    for fold in sorted({row["fold"] for row in usual}):
        histories = (("unet_50_epochs_cv", f"history_fold_{fold}.csv"), (f"unet_cv/fold_{fold}", "history.csv"))
        cells = []
        for history in histories:
            epochs = [row for row in patients(*history) if row["val_volume_iou"]]
            best = max(epochs, key=lambda row: float(row["val_volume_iou"]))
            cells.append(f"{float(best['val_volume_dice']):.3f} ({best['epoch']})")
        parts = [[row for row in rows if row["fold"] == fold] for rows in (longer, usual)]
        assert f"| {fold} | {', '.join(cells)} | {compared(*parts)} |" in page
    assert compared(longer, usual) in page
    sites = summarise(longer)["by_site"].items()
    assert ", ".join(f"{site} {entry['mean']:.3f}" for site, entry in sites) in page
    chosen = patients("unet_50_epochs_cv", "validation_patients.csv")
    scored = patients("ablations", "unet_second_seed_and_flips.csv")
    before = {(row["fold"], row["patient"]): row["unet"] for row in scored if row["subset"] == "validation"}
    others = [{**row, "volume_dice": before[row["fold"], row["patient"]]} for row in chosen]
    entry = paired_difference("volume_dice", others, chosen)
    gain = f"{entry['difference']:+.3f} ({interval(entry['ci95'], '+')})"
    assert f"{gain}, {entry['higher']} better, {entry['lower']} worse" in page


def test_what_is_said_of_pspnets_speed_on_a_gpu_is_that_of_the_file() -> None:
    page = " ".join(text("docs/performance/gpu.md").replace("**", "").split())
    file = RESULTS / "benchmarks/h100/train_pspnet_32.json"
    measured = json.loads(file.read_text(encoding="utf-8"))["pspnet"]
    bare, bundle, plain = (measured["variants"][name] for name in ("bare", "bundle", "monai/workers=8"))
    steps = [1000 * bare["step_seconds"]["median"], 1000 * bundle["without_epoch_end"]["median"]]
    cells = [f"| {value:.2f} |" for value in (*steps, steps[0] / steps[1])]
    assert [cell for cell in cells if cell not in page] == []
    share, times = (
        measured["ratios"][f"bundle : {other}"] for other in ("bare", "monai/workers=8 (best plain pipeline)")
    )
    assert f"{share['median']:.3f} ({interval([share['low'], share['high']])})" in page
    assert f"{times['median']:.2f} ({interval([times['low'], times['high']], digits=2)}) times" in page
    speeds = [f"{part['slices_per_second']['median']:.0f}" for part in (bundle, bare, plain)]
    assert f"{speeds[0]} and {speeds[1]} slices/s" in page
    assert f"{speeds[2]} slices/s" in page
    overview = text("docs/performance.md")
    assert f"| {speeds[0]} | [H100]" in overview
    assert f"| {times['median']:.2f} | [H100]" in overview


def test_what_is_said_of_8_bits_is_that_of_the_files() -> None:
    page = " ".join(text("docs/predict.md").replace("**", "").split())
    for bundle in ("unet", "pspnet"):
        measured = json.loads((RESULTS / f"benchmarks/int8_{bundle}.json").read_text(encoding="utf-8"))
        for what, found in measured["inputs"].items():
            entry = found["paired"]
            assert found["patients"] == len({row["patient"] for row in measured["rows"]}) == 80
            cells = (
                f"{found['dice']:.3f} | {found['dice_int8']:.3f} | {entry['difference']:+.3f} "
                f"({interval(entry['ci95'], '+')}) | {entry['higher']}, {entry['lower']} | {found['agreement']:.3f}"
            )
            assert f"{what} | {cells} |" in page, cells
    tables = text("docs/performance/cpu.md").replace("**", "")
    for processor, name in (("Intel", "inference_int8"), ("AMD", "inference_int8_amd")):
        speed = json.loads((RESULTS / f"benchmarks/{name}.json").read_text(encoding="utf-8"))
        for way in ("one_patient", "one_patient_int8"):
            seconds = [speed[bundle][way]["seconds"] for bundle in ("unet", "pspnet")]
            cells = [f"{part['median']:.2f} s ({interval([part['low'], part['high']], digits=2)})" for part in seconds]
            assert f"| {' | '.join(cells)} |" in tables
        medians = [f"{speed[bundle]['one_patient_int8']['seconds']['median']:.2f} s" for bundle in ("unet", "pspnet")]
        assert f"| {' | '.join(medians)} | [2 cores, {processor}](performance/cpu.md#8-bits)" in text(
            "docs/performance.md"
        )


def test_every_folder_of_results_is_told() -> None:
    told = re.findall(r"^\| (`.*?`) \|", text("docs/results/README.md"), re.MULTILINE)
    folders = {name for cell in told for name in re.findall(r"`(\w+)`", cell)}
    assert {path.name for path in RESULTS.iterdir() if path.is_dir()} <= folders


def test_every_picture_is_shown_by_a_document() -> None:
    shown = {
        (REPOSITORY / name).parent.joinpath(link).resolve()
        for name in TEXTS
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text(name))
    }
    pictures = {path for kind in ("png", "svg", "jpg") for path in (REPOSITORY / "docs").rglob(f"*.{kind}")}
    assert sorted(pictures - shown) == []


@pytest.mark.parametrize("name", TEXTS)
def test_links_and_named_files_are_there(name: str) -> None:
    here = (REPOSITORY / name).parent
    found = text(name)
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", found) if not link.startswith("http")]
    assert [link for link in links if not (here / link).exists()] == []
    places = re.findall(r"\]\(([\w./]*)#([^)]+)\)", found)
    pages = {page: anchors(here / page if page else REPOSITORY / name) for page, _ in places}
    assert [(page, anchor) for page, anchor in places if anchor not in pages[page]] == []
    named = re.findall(r"`((?:docs|bundles|configs|benchmarks|tests|lgg_monai)/[\w./*-]*)`", found)
    # A package has a folder docs of its own, which its card speaks of.
    own = {"docs/data_license.txt"}
    assert [path for path in named if path not in own and not list(REPOSITORY.glob(path))] == []


def test_the_table_of_options_is_that_of_the_bundle() -> None:
    parser = ConfigParser()
    parser.read_config(REPOSITORY / "bundles/unet.yaml")
    config = parser.get()
    keys = list(config)
    settings = set(keys[: keys.index("network_def")]) - {"_meta_", "imports", "bundle_root"}
    table = dict(re.findall(r"^\| `--(\w+)` \| (.*?) ?\| ", text("docs/training.md"), re.MULTILINE))
    assert table.keys() == settings
    for key, said in table.items():
        if not str(config[key]).startswith("$"):  # what an expression gives is said in words
            value = config[key]
            default = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
            assert said.strip("`") == default, key
    for key, said in re.findall(r"^\| `--(\w+)` \| (.*?) ?\| ", text("README.md"), re.MULTILINE):
        assert said in ("see above", table[key])
