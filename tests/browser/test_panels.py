"""Each panel, used as a person would."""

import base64
import io
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.browser.steps import Open, panel, says
from tests.e2e.server import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
PICTURES = ROOT / "docs/pictures"


def pixels(source: str | None) -> np.ndarray:
    """Of an image's data: address."""
    assert source is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def code(page: "Page", language: str) -> str:
    box = panel(page).locator(".code")
    box.get_by_role("button", name=language, exact=True).click()
    return box.locator("code").inner_text()


def run_code(page: "Page", language: str, folder: Path) -> bytes:
    """Run what is shown, beside the files that it needs. Returns what it prints."""
    for name in set(panel(page).locator(".files button").all_inner_texts()):
        with page.expect_download() as download:
            panel(page).locator(".files button", has_text=name).first.click()
        download.value.save_as(folder / name)
    text = code(page, language)
    command = ["sh", "-ec", text] if language == "curl" else [sys.executable, "-c", text]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode() + text
    return done.stdout


class TestDraw:
    def test_images_sharpen_as_they_come(self, open_page: Open) -> None:
        def watch(page: "Page") -> None:
            page.add_init_script(
                """window.seen = new Map();
                new MutationObserver((all) => all.forEach(({target}) => {
                  if (target.closest?.(".tile")) seen.set(target, (seen.get(target) ?? 0) + 1);
                })).observe(document, {subtree: true, attributeFilter: ["src"]});"""
            )

        page = open_page("draw?model=mnist-diffusion&n=3&steps=12", watch)
        says(page, "3 pictures in")
        assert page.evaluate("[...seen.values()]") == [9, 9, 9]  # eight previews and the image
        early = panel(page).locator(".tile[data-done=true]")
        assert early.count() == 3

    def test_a_picture_that_is_chosen_gives_its_seed(self, open_page: Open, served: str, tmp_path: Path) -> None:
        page = open_page("draw?model=mnist-gan&n=6&seed=40")
        says(page, "6 pictures in")
        tile = panel(page).locator(".tile").nth(3)
        drawn = pixels(tile.locator("img").get_attribute("src"))
        tile.click()
        ask = {"model": "mnist-gan", "prompt": "3", "seed": 43}
        answer = httpx.post(f"{served}/v1/images/generations", json=ask, headers={"accept": "image/png"})
        assert np.array_equal(drawn, np.asarray(Image.open(io.BytesIO(answer.content))))
        for language in ("curl", "Python"):
            run_code(page, language, tmp_path)
            assert (tmp_path / "picture.png").read_bytes() == answer.content
            (tmp_path / "picture.png").unlink()
        page.get_by_role("button", name="Use this seed").click()
        assert page.get_by_label("Seed", exact=True).input_value() == "43"
        assert page.get_by_label("Class", exact=True).input_value() == "3"
        says(page, "6 pictures in")
        assert np.array_equal(pixels(panel(page).locator(".tile img").first.get_attribute("src")), drawn)

    def test_it_is_kept_as_png_and_as_numbers(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page("draw?model=mnist-gan&n=2&class=7")
        says(page, "2 pictures in")
        panel(page).locator(".tile").first.click()
        for name, suffix in (("PNG", ".png"), ("npy", ".npy")):
            with page.expect_download() as download:
                page.get_by_role("button", name=name, exact=True).click()
            assert download.value.suggested_filename == f"mnist-gan-1{suffix}"
            download.value.save_as(tmp_path / f"one{suffix}")
        numbers = np.load(tmp_path / "one.npy")
        assert (numbers.shape, numbers.dtype) == ((1, 1, 28, 28), np.float32)
        assert np.array_equal(np.rint(numbers[0, 0] * 255), np.asarray(Image.open(tmp_path / "one.png")))

    def test_only_the_controls_that_a_model_has(self, open_page: Open) -> None:
        page = open_page("draw?model=mnist-gan&n=1")
        says(page, "1 picture in")
        labels = page.locator(".controls label")
        assert labels.all_inner_texts() == ["Model", "Class", "Pictures", "Seed"]
        page.get_by_label("Model", exact=True).select_option("mnist-diffusion")
        says(page, "1 picture in")
        assert {"Steps", "Sampler", "Guidance"} <= set(labels.all_inner_texts())
        page.get_by_label("Model", exact=True).select_option("mnist-pixel-gpt")
        page.get_by_label("Temperature").wait_for()
        assert not {"Steps", "Class"} & set(labels.all_inner_texts())
        assert "model=mnist-pixel-gpt" in page.url  # a link leads here again

    def test_a_walk_between_two_pictures(self, open_page: Open) -> None:
        page = open_page("draw?model=mnist-gan&n=4&class=5")
        says(page, "4 pictures in")
        tiles = panel(page).locator(".tile")
        tiles.nth(0).click()
        page.get_by_role("button", name="Walk from here").click()
        tiles.nth(2).click()
        page.get_by_role("button", name="Walk to here").click()
        page.get_by_text("16 pictures on the way, all of class 5").wait_for()
        strip = panel(page).locator(".strip img")
        for end, tile in ((0, 0), (15, 2)):
            walked = pixels(strip.nth(end).get_attribute("src"))
            assert np.array_equal(walked, pixels(tiles.nth(tile).locator("img").get_attribute("src")))
        slider = page.get_by_label("Place on the way")
        slider.fill("15")
        assert panel(page).locator(".frames .plate img").get_attribute("src") == strip.nth(15).get_attribute("src")

    @pytest.mark.parametrize("model", ["mnist-vae", "mnist-flow"])  # directions measured, and by chance
    def test_sliders_through_latent_space(self, open_page: Open, model: str) -> None:
        page = open_page(f"draw?model={model}&n=1")
        says(page, "1 picture in")
        page.get_by_text("Latent space").click()
        image = panel(page).locator(".axes .plate img")
        image.wait_for()
        seen = {image.get_attribute("src")}
        for move in (
            lambda: panel(page).locator(".pad").press("ArrowUp"),
            lambda: panel(page).locator(".pad").click(position={"x": 20, "y": 20}),
            lambda: page.get_by_label("Direction 3").press("Home"),
        ):
            before = image.get_attribute("src")
            move()
            page.wait_for_function("([i, b]) => i.src !== b", arg=[image.element_handle(), before])
            seen.add(image.get_attribute("src"))
        assert len(seen) == 4
        assert '"latents": [[' in code(page, "curl")


class TestClean:
    def test_models_side_by_side(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page("clean?noise-models=mnist-diffusion,photo-denoiser&sigma=0.25")
        says(page, "2 models done")
        gains = panel(page).locator(".compare figcaption p").all_inner_texts()
        assert len(gains) == 2
        for gain in gains:
            before, after = (float(part.split()[0]) for part in gain.split(" → "))
            assert after > before + 2, gain
        for language in ("curl", "Python"):
            run_code(page, language, tmp_path)
        assert Image.open(tmp_path / "clean-photo-denoiser.png").size == (28, 28)
        slider = page.get_by_label("Before and after mnist-diffusion")
        slider.press("Home")
        after = panel(page).locator(".pair img.after").nth(1)
        assert "0%)" in (after.evaluate("image => image.style.clipPath"))

    def test_more_noise_on_purpose(self, open_page: Open) -> None:
        page = open_page("clean?noise-models=mnist-diffusion")
        says(page, "1 model done")
        before = panel(page).locator(".pair img").first
        first = before.get_attribute("src")
        page.get_by_label("Noise added").fill("0.5")
        page.wait_for_function("([i, b]) => i.src !== b", arg=[before.element_handle(), first])
        assert "sigma=0.5" in page.url

    def test_a_file_of_any_size(self, open_page: Open) -> None:
        page = open_page("clean?noise-models=photo-denoiser&sigma=0")
        says(page, "1 model done")
        panel(page).locator("input[type=file]").set_input_files(PICTURES / "noisy.png")
        size = Image.open(PICTURES / "noisy.png").size
        panel(page).locator(f"canvas[aria-label$='{size[0]} by {size[1]}']").wait_for()
        page.wait_for_function(
            "w => document.querySelector('.pair img.after')?.naturalWidth === w", arg=size[0], timeout=60_000
        )

    @pytest.mark.parametrize("how", ["drop", "paste"])
    def test_a_file_that_is_dropped_or_pasted(self, how: str, open_page: Open) -> None:
        page = open_page("clean?noise-models=photo-denoiser&sigma=0")
        says(page, "1 model done")
        blob = base64.b64encode((PICTURES / "noisy.png").read_bytes()).decode()
        zone = panel(page).locator(".zone")
        zone.evaluate(
            """(zone, [how, blob]) => {
                const bytes = Uint8Array.from(atob(blob), (c) => c.charCodeAt(0));
                const data = new DataTransfer();
                data.items.add(new File([bytes], "noisy.png", { type: "image/png" }));
                const at = { bubbles: true, cancelable: true };
                const event = how === "drop"
                    ? new DragEvent("drop", { ...at, dataTransfer: data })
                    : new ClipboardEvent("paste", { ...at, clipboardData: data });
                (how === "drop" ? zone : document).dispatchEvent(event);
            }""",
            [how, blob],
        )
        size = Image.open(PICTURES / "noisy.png").size
        panel(page).locator(f"canvas[aria-label$='{size[0]} by {size[1]}']").wait_for()

    def test_a_digit_drawn_with_the_mouse(self, open_page: Open) -> None:
        page = open_page("clean?noise-models=mnist-diffusion")
        says(page, "1 model done")
        page.get_by_role("button", name="Draw by hand").click()
        box = page.locator("dialog canvas").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 140, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + 140, box["y"] + 230, steps=8)
        page.mouse.up()
        page.get_by_role("button", name="Use it").click()
        panel(page).locator("canvas[aria-label^='The picture: drawing.png']").wait_for()
        says(page, "1 model done")

    def test_a_digit_drawn_with_the_keyboard(self, open_page: Open) -> None:
        page = open_page("clean?noise-models=mnist-diffusion&sigma=0")
        says(page, "1 model done")
        page.get_by_role("button", name="Draw by hand").press("Enter")
        for key in [*["ArrowUp"] * 7, " ", *["ArrowDown"] * 14, " "]:
            page.keyboard.press(key)
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        canvas = panel(page).locator("canvas[aria-label^='The picture: drawing.png']")
        canvas.wait_for()
        column = canvas.evaluate("c => c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data[0]")
        assert column > 200

    def test_a_hole_and_half_the_size(self, open_page: Open) -> None:
        page = open_page("clean?damage=hole&hole-models=mnist-restorer,mnist-diffusion")
        says(page, "2 models done")
        page.get_by_label("What is wrong with it").select_option("small")
        widths = "[...document.querySelectorAll('.pair img')].map((image) => image.naturalWidth)"
        page.wait_for_function(f"() => String({widths}) === '14,28'")


class TestScore:
    def test_pictures_with_the_surprise_over_them(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page("score")
        says(page, "31 scored by combined")
        rows = panel(page).locator(".scores tbody tr")
        assert "speckled digit" in rows.first.inner_text()  # the most unusual first
        assert "unusual" in rows.first.inner_text()
        flagged = panel(page).locator(".flag").count()
        assert 1 <= flagged <= 8  # of 30 normal digits about 1.5 are
        mark = panel(page).locator(".maps [aria-label^='Its surprise, the most at column']").get_attribute("aria-label")
        assert mark is not None
        column, row = (int(part) for part in mark.replace("column", "").split("most at")[1].split("of row"))
        assert column <= 10
        assert row <= 10
        rows.nth(5).get_by_role("button").click()
        assert rows.nth(5).get_by_role("button").get_attribute("aria-pressed") == "true"
        assert panel(page).locator(".chart").count() == 2
        panel(page).locator("input[type=file]").set_input_files(PICTURES / "corner.png")
        says(page, "32 scored")
        assert "corner.png" in rows.first.inner_text()
        page.get_by_label("By the statistic").select_option("nearest")
        says(page, "32 scored by nearest")

    def test_a_table_with_contributions_by_column(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page("score?model=pendigits-scores")
        says(page, "12 scored by ensemble")
        assert panel(page).locator(".columns tbody tr").first.inner_text().startswith("x6")
        assert "row 12" in panel(page).locator(".scores tbody tr").first.inner_text()
        for language in ("curl", "Python"):
            assert b"p_value" in run_code(page, language, tmp_path)
        table = tmp_path / "two.csv"
        page.get_by_label("Rows as CSV").input_value()
        table.write_text("\n".join(page.get_by_label("Rows as CSV").input_value().split("\n")[:3]))
        panel(page).locator("input[type=file]").set_input_files(table)
        says(page, "2 scored")

    def test_texts_with_their_tokens_coloured(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page("score?model=shakespeare-gpt")
        says(page, "5 scored")
        assert "qzx" in panel(page).locator(".why h3").inner_text()
        levels = panel(page).locator(".why .paper .token").evaluate_all("all => all.map(t => Number(t.dataset.level))")
        assert max(levels) == 5
        page.get_by_label("Texts, one a line").fill("He's gone, my lord.\nIt isn't 'quoted' twice!")
        page.get_by_role("button", name="Score", exact=True).click()
        says(page, "2 scored")
        for language in ("curl", "Python"):
            assert b"perplexity" in run_code(page, language, tmp_path)


class TestWrite:
    def test_text_comes_with_its_pace_and_its_surprise(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page("write?tokens=120&seed=5")
        page.get_by_role("button", name="Write", exact=True).click()
        says(page, "Written.")
        paces = dict(
            zip(
                panel(page).locator("dt").all_inner_texts(),
                panel(page).locator(".paces dd").all_inner_texts(),
                strict=False,
            )
        )
        assert paces["Tokens"] == "120"
        assert float(paces["First token"].split()[0]) > 0
        assert int(paces["Tokens per second"]) > 10
        tokens = panel(page).locator(".paper .token")
        assert tokens.count() == 120
        assert len(set(tokens.evaluate_all("all => all.map(t => t.dataset.level)"))) >= 3
        text = panel(page).locator(".paper").inner_text()
        for language in ("curl", "Python"):
            assert b"[DONE]" in run_code(page, language, tmp_path)
        page.get_by_role("button", name="Write", exact=True).click()
        says(page, "Written.")
        assert panel(page).locator(".paper").inner_text() == text  # of the same seed

    def test_a_stop_text_ends_it(self, open_page: Open) -> None:
        page = open_page("write?tokens=300&stop=%5Cn")
        page.get_by_role("button", name="Write", exact=True).click()
        says(page, "Ended by a stop text.")
        assert panel(page).locator(".paper").inner_text().count("\n") == 1

    def test_the_stop_button_stops_the_server_too(self, open_page: Open, served: str) -> None:
        def figures() -> dict[str, float]:
            lines = httpx.get(f"{served}/metrics").text.splitlines()
            split = (line.rsplit(" ", 1) for line in lines if line.startswith("amostra_"))
            return {name: float(value.split()[0]) for name, value in split if "# {" not in name}

        cancelled = 'amostra_cancelled_requests_total{route="/v1/completions"}'
        before = figures().get(cancelled, 0)
        page = open_page("write?tokens=2000")
        page.get_by_role("button", name="Write", exact=True).click()
        panel(page).locator(".paper .token").first.wait_for()
        page.get_by_role("button", name="Stop", exact=True).click()
        says(page, "Stopped.")
        length = panel(page).locator(".paper .token").count()
        page.wait_for_timeout(500)
        after = figures()
        assert after[cancelled] == before + 1
        assert after["amostra_engine_jobs"] == 0
        assert panel(page).locator(".paper .token").count() == length < 2000
        assert page.locator("#notice").is_hidden()


class TestMap:
    def test_points_lead_to_pictures(self, open_page: Open, tmp_path: Path) -> None:
        page = open_page("map?n=100")
        says(page, "100 pictures in 256 dimensions")
        assert panel(page).locator(".point").count() == 100
        panel(page).locator(".point").nth(6).click()
        assert "picture 7, class 6" in panel(page).locator(".neighbours").inner_text()
        near = panel(page).locator(".near button")
        assert near.count() == 8
        alike = sum("class 6" in (label or "") for label in near.evaluate_all("all => all.map(b => b.title)"))
        assert alike >= 5  # neighbours of a six are mostly sixes
        run_code(page, "curl", tmp_path)
        assert np.load(tmp_path / "embeddings.npy").shape == (100, 256)

    def test_with_the_keyboard_alone(self, open_page: Open) -> None:
        page = open_page("map?n=50")
        says(page, "50 pictures")
        field = panel(page).locator(".field-of-points")
        field.press("ArrowRight")
        places = {field.get_attribute("aria-valuetext")}
        for key in ("ArrowRight", "ArrowUp", "ArrowLeft", "ArrowLeft"):
            field.press(key)
            places.add(field.get_attribute("aria-valuetext"))
        assert len(places) >= 4
        assert panel(page).locator(".neighbours img.plate").count() == 1

    def test_pictures_of_one_s_own(self, open_page: Open) -> None:
        page = open_page("map?n=50&model=mnist-features")
        says(page, "50 pictures")
        panel(page).locator("input[type=file]").set_input_files(
            [PICTURES / "thin-three.png", PICTURES / "bold-five.png"]
        )
        says(page, "52 pictures")
        assert panel(page).locator(".point[data-group=own]").count() == 2
