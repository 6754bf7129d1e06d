"""Draw what a run shows into docs/images: its last table in a terminal, and parts of its report in a browser.

    python docs/draw_report.py --workspace workspace

takes the newest run there; it needs Chromium.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from draw_terminals import FORMAT, IMAGES
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COMMAND = ["make-submission", "--ensemble"]
LARGE, COLOURS = 250_000, 256
"""A picture of more bytes gets as many colours; thin lines may lose theirs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    options = parser.parse_args()
    runs = sorted((options.workspace / "runs").glob("*/report.html"), key=lambda path: path.stat().st_mtime)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, scheme, parts in (
            ("report", "light", ("body > header", "section:has(#stages)", "section:has(#ranking)")),
            ("report-mistakes", "dark", ("section:has(#mistakes) .card:nth-child(-n+4)",)),
        ):
            page = browser.new_page(viewport={"width": 1240, "height": 900}, color_scheme=scheme)
            page.goto(runs[-1].resolve().as_uri())
            page.evaluate("[...document.images].forEach((image) => { image.loading = 'eager'; })")
            page.wait_for_timeout(300)
            save(page, parts, IMAGES / f"{name}.png")
        page = browser.new_page(viewport={"width": 900, "height": 500}, device_scale_factor=1.5)
        with tempfile.NamedTemporaryFile("w", suffix=".svg", encoding="utf-8") as file:
            file.write(terminal(options.workspace))
            file.flush()
            page.goto(Path(file.name).as_uri())
            box = page.evaluate("(({width, height}) => [width, height])(document.documentElement.viewBox.baseVal)")
            page.set_viewport_size({"width": 900, "height": round(900 * box[1] / box[0])})
            page.screenshot(path=IMAGES / "terminal.png")
        shrink(IMAGES / "terminal.png")
        browser.close()


def terminal(workspace: Path) -> str:
    """What the stored run prints, as the SVG of a terminal."""
    command = [sys.executable, "-m", "lmk.cli.main", "-q", *COMMAND, "--workspace", str(workspace)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    console = Console(record=True, width=68, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    console.print(Text(f"$ lmk {' '.join(COMMAND)}", style="bold"))
    console.print(Text(printed.rstrip()))
    return console.export_svg(title="lmk", theme=MONOKAI, code_format=FORMAT, unique_id="run")


def save(page: Page, parts: tuple[str, ...], path: Path) -> None:
    """The box that holds all `parts`."""
    boxes = [found.bounding_box() for part in parts for found in page.locator(part).all()]
    left, top = min(box["x"] for box in boxes), min(box["y"] for box in boxes)
    right, bottom = (max(box[a] + box[b] for box in boxes) for a, b in (("x", "width"), ("y", "height")))
    clip = {"x": max(left - 12, 0), "y": max(top - 12, 0), "width": right - left + 24, "height": bottom - top + 24}
    page.screenshot(path=path, full_page=True, clip=clip)
    shrink(path)


def shrink(path: Path) -> None:
    """Fewer colours where the picture is large."""
    picture = Image.open(path).convert("RGB")
    picture.save(path, optimize=True)
    if path.stat().st_size > LARGE:
        picture.quantize(COLOURS).save(path, optimize=True)
    print(f"{path} {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
