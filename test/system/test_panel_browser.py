"""The page of dytrack_panel in a real Chromium, on a live graph of camera_node, tracker_node and dytrack_panel."""

import signal
import time
from types import SimpleNamespace

import pytest
from live_graph import LiveGraph
from panel_clients import browser, drag_box, find_chromium
from panel_graph import start_camera, start_panel, start_tracker
from rcl_interfaces.srv import GetParameters
from vision_msgs.msg import Detection2D

from dytrack_ros.nodes.messages import box_of, detection_message

pytest.importorskip("playwright", reason="playwright is not installed: pip install playwright")
pytestmark = pytest.mark.skipif(not find_chromium(), reason="there is no Chromium: apt install chromium")

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
BOX = (200, 150, 120, 90)
TOKEN = "a token for tests"


@pytest.fixture(scope="module")
def live(tmp_path_factory, tiny_weights):
    """The graph, its panel, the panel's address, a browser, and every init that was heard, by stamp."""
    graph = LiveGraph(tmp_path_factory.mktemp("panel"))
    try:
        inits = {}
        graph.listen_to_tracker()
        graph.listen(Detection2D, "init", inits)
        start_camera(graph, rate_hz=5.0)
        start_tracker(graph, tiny_weights, catch_up__seconds=6.0)  # a busy machine takes longer than the default 2 s
        panel, url = start_panel(graph)
        with browser() as chromium:
            live = SimpleNamespace(graph=graph, panel=panel, url=url, chromium=chromium, inits=inits)
            await_first_init(live)
            yield live
    finally:
        graph.close()


def await_first_init(live):
    """Draw boxes until this process hears an init: DDS matches it with the panel's publisher later than the tracker."""
    with Opened(live, viewport=DESKTOP) as page:
        while not live.inits:
            before = target(page)
            drag_box(page, BOX)
            live.graph.wait_until(lambda: live.inits or target(page) not in ("", before), "any init")  # noqa: B023


@pytest.fixture
def page(live):
    """A page that shows pictures; whatever it complained about fails the test."""
    with Opened(live, viewport=DESKTOP) as page:
        yield page


class Opened:
    """A page in a browser window of its own."""

    def __init__(self, live, url=None, **window):
        self._live, self._url, self._window = live, url or live.url, window

    def __enter__(self):
        self._context = self._live.chromium.new_context(**self._window)
        page = self._context.new_page()
        self._complaints = []
        page.on("pageerror", lambda error: self._complaints.append(str(error)))
        page.on("console", lambda m: m.type == "error" and self._complaints.append(m.text))
        page.goto(self._url)
        page.wait_for_selector("#picture[data-stamp]")
        return page

    def __exit__(self, kind, *error):
        self._context.close()
        if kind is None:
            # What the browser says of a panel that has ended is not the page's fault.
            assert not [text for text in self._complaints if "ERR_CONNECTION" not in text]


def picture(page, name):
    """What is on screen: `stamp`, `state`, `box`, `boxStamp` or `size`."""
    return page.locator("#picture").get_attribute(f"data-{name}") or ""


def control(page, name):
    return page.locator(f'[id="parameter-{name}"]')


def row(page, name):
    return page.locator(f".parameter:has([id='parameter-{name}'])")


def parameter(live, name):
    (value,) = live.graph.call(
        GetParameters, "/tracker_node/get_parameters", GetParameters.Request(names=[name])
    ).values
    return {1: value.bool_value, 2: value.integer_value, 3: value.double_value, 4: value.string_value}[value.type]


def await_parameter(live, name, expected):
    live.graph.wait_until(lambda: parameter(live, name) == expected, f"{name} = {expected}")


def await_text(live, page, selector, words):
    live.graph.wait_until(lambda: words in (page.locator(selector).text_content() or ""), f"{words!r} in {selector}")


def target(page):
    """The name of the target that the page says is followed, empty for none."""
    return page.locator("#state").get_attribute("data-target") or ""


def follow(live, page, box=BOX):
    """Drag a box, and wait until the page shows that this one is followed, and no former one.

    Returns the stamp that was on screen at the drag's begin, and the new target's name."""
    before = target(page)
    stamp = int(drag_box(page, box))
    live.graph.wait_until(lambda: stamp in live.inits, f"init of {stamp}, of {sorted(live.inits)}")
    live.graph.wait_until(lambda: target(page) not in ("", before), "new target on the page")
    live.graph.wait_until(lambda: picture(page, "box"), "box on the page")
    return stamp, target(page)


def test_a_drag_starts_on_the_picture_that_was_on_screen_and_the_box_follows(live, page):
    stamp, _ = follow(live, page)
    assert box_of(live.inits[stamp]) == pytest.approx(BOX, abs=2)
    assert live.inits[stamp].header.frame_id == "camera"
    shown = {}

    def moved():
        told, box = page.evaluate(
            "() => { const d = document.getElementById('picture').dataset; return [d.boxStamp, d.box]; }"
        )
        if told and box:
            shown[int(told)] = tuple(map(float, box.split()))
        # This process may find the tracker's detections later than the panel does.
        heard = {told: box for told, box in shown.items() if told in live.graph.detections}
        return len(set(heard.values())) >= 3 and heard

    for told, box in live.graph.wait_until(moved, "box in three places").items():
        assert box == pytest.approx(box_of(live.graph.detections[told]), abs=1e-3)
    await_text(live, page, "#state", "TRACKING target-")
    await_text(live, page, "#exit-now", "of 3")
    await_text(live, page, "#latency-now", "no budget")
    # Its outline is in the colour of the state, where the box is.
    green = page.evaluate(
        """() => { const c = document.getElementById("picture"), [x, y, w, h] = c.dataset.box.split(" ").map(Number);
                   const s = c.width / Number(c.dataset.size.split(" ")[0]), pen = c.getContext("2d");
                   const at = (x, y) => [...pen.getImageData(Math.round(x * s), Math.round(y * s), 1, 1).data].join();
                   return [at(x + w / 2, y + h), at(x, y + h / 2), at(x + w, y + h / 2)]; }"""
    )
    assert "0,158,115,255" in green


def test_while_a_box_is_drawn_the_picture_stands_still_and_escape_gives_up(live, page):
    count = len(live.inits)
    area = page.locator("#picture").bounding_box()
    page.mouse.move(area["x"] + 50, area["y"] + 50)
    page.mouse.down()
    held = picture(page, "stamp")
    page.mouse.move(area["x"] + 150, area["y"] + 120)
    started_s = time.monotonic()
    live.graph.wait_until(lambda: time.monotonic() - started_s > 0.6, "0.6 s")
    assert picture(page, "stamp") == held
    page.keyboard.press("Escape")
    page.mouse.up()
    live.graph.wait_until(lambda: picture(page, "stamp") != held, "live pictures again")
    assert len(live.inits) == count

    # Held for longer than the tracker keeps its images, the picture lives again, and says why.
    page.mouse.move(area["x"] + 50, area["y"] + 50)
    page.mouse.down()
    held = picture(page, "stamp")
    page.mouse.move(area["x"] + 150, area["y"] + 120)
    live.graph.wait_until(lambda: picture(page, "stamp") != held, "live pictures")
    assert "no longer keeps the picture" in page.locator("#notice").text_content()
    page.mouse.up()
    live.graph.wait_until(lambda: len(live.inits) == count + 1, "init")
    assert max(live.inits) > int(held)


def test_controls_change_parameters_and_show_changes_from_elsewhere(live, page):
    slider = control(page, "exit.tau_1-slider")
    slider.focus()
    slider.press("Home")
    await_parameter(live, "exit.tau_1", 0.0)
    assert control(page, "exit.tau_1").input_value() == "0"
    control(page, "exit.tau_1").fill("0.625")
    control(page, "exit.tau_1").press("Enter")
    await_parameter(live, "exit.tau_1", 0.625)
    assert slider.input_value() == "625"
    control(page, "budget.mode").select_option("rate")
    await_parameter(live, "budget.mode", "rate")
    control(page, "budget.mode").select_option("unlimited")
    await_parameter(live, "budget.mode", "unlimited")
    control(page, "lost.hide").check()
    await_parameter(live, "lost.hide", True)
    control(page, "lost.hide").uncheck()
    await_parameter(live, "lost.hide", False)
    control(page, "lost.frames").fill("17")
    control(page, "lost.frames").press("Enter")
    await_parameter(live, "lost.frames", 17)

    live.graph.set_parameters("/tracker_node", exit__tau_1=0.25)
    live.graph.wait_until(lambda: control(page, "exit.tau_1").input_value() == "0.25", "change from elsewhere")
    assert slider.input_value() == "250"

    control(page, "lost.score").fill("7")
    control(page, "lost.score").press("Enter")
    live.graph.wait_until(lambda: row(page, "lost.score").locator(".reason").text_content(), "reason of the refusal")
    assert control(page, "lost.score").input_value() == "0"
    assert parameter(live, "lost.score") == 0.0


def test_in_the_default_mode_a_slider_changes_the_exits_of_the_next_frames(live, page):
    def next_exits(count):
        """Exits of frames taken from now on; statuses of former frames may still be on their way to this process."""
        now = time.time_ns()

        def exits():
            return [status.exit_index for stamp, status in sorted(live.graph.statuses.items()) if stamp > now]

        return live.graph.wait_until(lambda: len(exits()) >= count and exits(), f"{count} more frames")

    follow(live, page)
    assert live.graph.set_parameters("/tracker_node", budget__mode="camera")[0]
    slider = control(page, "exit.tau_1-slider")
    slider.focus()
    slider.press("End")
    await_parameter(live, "exit.tau_1", 1.0)
    live.graph.wait_until(lambda: max(next_exits(1)) > 1, "budget that does not limit")
    deep = next_exits(10)
    slider.press("Home")
    await_parameter(live, "exit.tau_1", 0.0)
    assert set(next_exits(50)) == {1}
    assert max(deep) > 1
    assert live.graph.set_parameters("/tracker_node", budget__mode="unlimited")[0]


def test_what_has_no_effect_is_grey_and_a_button_shows_what_it_is(live, page):
    effect = row(page, "exit.fixed").locator(".effect")
    live.graph.wait_until(effect.count, "parameters")
    assert effect.text_content() == "No effect now: acts when exit.policy is fixed."
    control(page, "exit.policy").select_option("fixed")
    live.graph.wait_until(lambda: not effect.text_content(), "effect of exit.fixed")
    threshold = row(page, "exit.tau_1").locator(".effect")
    assert threshold.text_content() == "No effect now: acts when exit.policy is thresholds."
    control(page, "exit.policy").select_option("thresholds")
    live.graph.wait_until(effect.text_content, "no effect of exit.fixed")
    assert not threshold.text_content()
    place = row(page, "exit.tau_2").bounding_box()
    row(page, "exit.tau_1").locator(".info").click()
    about = row(page, "exit.tau_1").locator(".about")
    assert about.is_visible() and "exit 1" in about.text_content()
    assert row(page, "exit.tau_2").bounding_box() == place
    page.keyboard.press("Escape")
    assert not about.is_visible()


def test_warnings_of_the_tracker_move_no_slider(live, page):
    live.graph.wait_until(control(page, "exit.tau_1").count, "parameters")
    place, warnings = row(page, "exit.tau_1").bounding_box(), page.locator("#log li")
    count = warnings.count()
    publisher = live.graph.client.create_publisher(Detection2D, "init", 10)
    live.graph.wait_until(publisher.get_subscription_count, "tracker")
    publisher.publish(detection_message(live.graph.header(0), (float("nan"), 0, 10, 10)))
    live.graph.wait_until(lambda: warnings.count() > count, "warning")
    live.graph.wait_until(lambda: 0 in live.inits, "the init itself")  # other tests count inits
    assert row(page, "exit.tau_1").bounding_box() == place


def test_every_parameter_is_there_with_its_description(live, page):
    from dytrack_ros.nodes.parameters import TRACKER

    live.graph.wait_until(lambda: page.locator(".parameter").count() >= len(TRACKER), "parameters")
    for known in TRACKER:
        element = control(page, known.name)
        assert row(page, known.name).get_attribute("title").startswith(known.description)
        tag = element.evaluate("element => element.tagName + (element.type ? ':' + element.type : '')")
        kind = (
            "OUTPUT:output"
            if known.read_only or isinstance(known.default, tuple)
            else "SELECT:select-one"
            if known.choices
            else {
                bool: "INPUT:checkbox",
                int: "INPUT:number",
                float: "INPUT:number",
            }[type(known.default)]
        )
        assert (known.name, tag) == (known.name, kind)


def test_a_box_by_keyboard_alone(live, page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "picture"
    count = len(live.inits)
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowLeft", "Shift+ArrowDown", "Alt+ArrowUp"):
        page.keyboard.press(key)
    assert page.locator("#notice").text_content() == "Box of 150 by 130 at 250, 179; Enter sends it."
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")  # there is no box any more
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowLeft", "Enter"):
        page.keyboard.press(key)
    live.graph.wait_until(lambda: len(live.inits) > count, "init")
    assert len(live.inits) == count + 1
    assert box_of(live.inits[max(live.inits)]) == (250, 180, 150, 120)
    live.graph.wait_until(lambda: picture(page, "box"), "box on the page")
    page.click("#stop")


class Fingers:
    """Touches on a page; places in CSS pixels of the viewport."""

    def __init__(self, page):
        self._session = page.context.new_cdp_session(page)

    def __call__(self, kind, *places):
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        self._session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    def drag(self, *places):
        self("Start", places[0])
        for place in places[1:]:
            self("Move", place)
        self("End")


def test_on_a_phone_one_finger_draws_and_two_do_not(live):
    with Opened(live, viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=3) as page:
        fingers = Fingers(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        area = page.locator("#picture").bounding_box()
        assert area["width"] > 350 and area["y"] + area["height"] < PHONE["height"]
        assert page.locator("#stop").bounding_box()["height"] >= 40

        def at(x, y):
            return area["x"] + x * area["width"], area["y"] + y * area["height"]

        count = len(live.inits)
        fingers("Start", at(0.25, 0.25))
        stamp = int(picture(page, "stamp"))
        fingers("Move", at(0.4, 0.4))
        fingers("Move", at(0.5, 0.5))
        fingers("End")
        live.graph.wait_until(lambda: stamp in live.inits, "init by finger")
        assert box_of(live.inits[stamp]) == pytest.approx((160, 120, 160, 120), abs=3)
        live.graph.wait_until(lambda: "accepted" in page.locator("#notice").text_content(), "answer")
        last = picture(page, "stamp")
        fingers("Start", at(0.4, 0.4))
        fingers("Start", at(0.4, 0.4), at(0.6, 0.6))
        for share in (0.05, 0.1, 0.15):
            fingers("Move", at(0.4 - share, 0.4 - share), at(0.6 + share, 0.6 + share))
        fingers("End")
        live.graph.wait_until(lambda: picture(page, "stamp") != last, "live pictures")
        page.evaluate("document.getElementById('stop').click()")
        await_text(live, page, "#state", "no target")  # the stop came after all that two fingers could have sent
        assert len(live.inits) == count + 1


def test_a_swipe_over_a_slider_scrolls_and_a_horizontal_drag_sets_it(live):
    assert live.graph.set_parameters("/tracker_node", exit__tau_1=0.25)[0]
    with Opened(live, viewport=PHONE, is_mobile=True, has_touch=True) as page:
        slider = control(page, "exit.tau_1-slider")
        live.graph.wait_until(lambda: slider.count() and slider.input_value() == "250", "slider")
        slider.scroll_into_view_if_needed()
        fingers = Fingers(page)

        def middle():
            area = slider.bounding_box()
            return area["x"] + area["width"] / 2, area["y"] + area["height"] / 2

        x, y = middle()
        fingers.drag((x, y), *((x + 1, y - step) for step in range(5, 130, 5)))
        fingers.drag(middle())  # a tap
        control(page, "exit.tau_2").fill("0.125")  # what comes later arrives later
        control(page, "exit.tau_2").press("Enter")
        await_parameter(live, "exit.tau_2", 0.125)
        assert (slider.input_value(), parameter(live, "exit.tau_1")) == ("250", 0.25)
        slider.scroll_into_view_if_needed()
        x, y = middle()
        fingers.drag((x, y), *((x + step, y) for step in range(5, 60, 5)))
        live.graph.wait_until(lambda: parameter(live, "exit.tau_1") > 0.5, "value of the drag")


def test_hint_answer_and_undo(live, page):
    live.graph.wait_until(lambda: target(page) or page.locator("#hint").is_visible(), "hint or target")
    if target(page):
        page.click("#stop")
    live.graph.wait_until(page.locator("#hint").is_visible, "hint")
    assert page.locator("#stop").is_disabled()
    _, first = follow(live, page)
    await_text(live, page, "#notice", f"The tracker has accepted the box as {first}.")
    assert not page.locator("#hint").is_visible()
    _, second = follow(live, page, (400, 300, 80, 60))
    await_text(live, page, "#undo", f"Undo: follow the former target ({first})")
    page.click("#undo")
    live.graph.wait_until(lambda: target(page) not in ("", first, second), "target of the former box")
    await_text(live, page, "#notice", "accepted")
    page.click("#stop")
    await_text(live, page, "#state", "no target")
    follow(live, page)
    await_text(live, page, "#undo", "Undo: stop following")
    page.click("#undo")
    await_text(live, page, "#state", "no target")


def test_a_refused_box_says_why_beside_the_picture(live, page):
    page.uncheck("#enabled")
    await_text(live, page, "#state", "tracker disabled: it ignores images")
    assert not page.locator("#hint").is_visible()
    drag_box(page, BOX)
    await_text(live, page, "#notice", "Box refused: images are ignored")
    page.check("#enabled")
    live.graph.wait_until(lambda: "disabled" not in page.locator("#state").text_content(), "tracker enabled")


def test_charts_lie_beside_the_picture(page):
    area, charts, bar = (page.locator(part).bounding_box() for part in ("#picture", "#charts", "#bar"))
    assert charts["x"] >= area["x"] + area["width"]
    assert max(charts["y"] + charts["height"], bar["y"] + bar["height"]) <= DESKTOP["height"]
    assert page.locator(".legend").count() == page.locator("figure").count() == 4


def test_the_charts_say_why_a_frame_stopped_and_dash_the_asked_threshold(page):
    said, rows = page.evaluate(
        """async () => {
          const { Charts } = await import("/charts.js");
          const root = document.getElementById("charts"), said = [];
          const status = { stamp: "0", state: "TRACKING", exit: 1, exits: 3, score: 0.9, latency: 1, budget: 0,
                           dropped: 0, thresholds: [0.3], asked: [0.7] };
          const charts = new Charts(root);
          for (const decided_by of ["QUALITY", "BUDGET", "DEADLINE", "LAST_EXIT"]) {
            charts.samples = [20, 0].map((ago) => ({ ...status, decided_by, t: 100 - ago }));
            charts.draw();
            said.push(root.querySelector("#exit-now").textContent);
          }
          const canvas = root.querySelector("#score-chart"), { width, height } = canvas;
          const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
          const share = (value) => {  // of the columns between both samples in which the line of this value is drawn
            const y = Math.round(height - 4 - value * (height - 8)), columns = [];
            for (let x = Math.ceil(width * 0.4); x < width * 0.95; x++)
              columns.push([-1, 0, 1].some((dy) => pixels[4 * ((y + dy) * width + x) + 3] > 60));
            return columns.filter(Boolean).length / columns.length;
          };
          return [said, [share(0.3), share(0.7)]];
        }"""
    )
    assert said == [f"1 of 3: {reason}" for reason in ("good enough", "the budget", "the deadline", "last exit")]
    assert rows[0] == 1.0, "the threshold in force is a solid line"
    assert 0.3 < rows[1] < 0.9, "the asked threshold is dashed"


def test_a_lost_target_is_explained_and_a_long_id_wraps(live, page):
    publisher = live.graph.client.create_publisher(Detection2D, "init", 10)
    live.graph.wait_until(publisher.get_subscription_count, "tracker")
    name = "x" * 250
    publisher.publish(detection_message(live.graph.header(0), BOX, target_id=name))
    live.graph.wait_until(lambda: target(page) == name, "target with a long name")
    assert page.evaluate("document.documentElement.scrollWidth") <= DESKTOP["width"]
    lose = {"lost__uncertain_score": 1.0, "lost__score": 1.0, "lost__hysteresis": 0.0, "lost__frames": 1}
    assert live.graph.set_parameters("/tracker_node", atomically=True, **lose) == (True, "")
    await_text(live, page, "#advice", "The tracker searches")
    assert page.locator("#advice").text_content().startswith("Lost since ")
    text = page.locator("#stage").inner_text()
    assert "LOST" in text and "ollows" not in text
    with Opened(live, viewport=PHONE) as phone:
        live.graph.wait_until(lambda: target(phone) == name, "target with a long name")
        assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert live.graph.set_parameters("/tracker_node", atomically=True, lost__uncertain_score=0.0, lost__score=0.0)[0]
    page.click("#stop")
    await_text(live, page, "#state", "no target")


def test_what_is_old_is_shown_as_old(live, tiny_weights):
    """A tracker that is killed stays in the ROS graph for 20 s; the page notices it sooner."""
    graph = live.graph
    camera = start_camera(graph, "/right")
    tracker = start_tracker(graph, tiny_weights, "/right", catch_up__seconds=6.0)
    panel, url = start_panel(graph, tracker="/right/tracker_node")
    with Opened(live, url, viewport=DESKTOP) as page:
        graph.wait_until(page.locator("#hint").is_visible, "hint")
        drag_box(page, BOX)
        graph.wait_until(lambda: target(page), "target")
        await_text(live, page, "#health", "tracker: ok")
        tracker.stop(signal.SIGKILL)
        await_text(live, page, "#state", "no answer from the tracker for")
        assert page.locator("#state").get_attribute("class") == "old"
        await_text(live, page, "#health-age", "Last known")
        assert "stale" in page.locator("#health").get_attribute("class")
        panel.stop()
        await_text(live, page, "#state", "not connected to the panel's node")
        assert page.locator("#stop").is_disabled() and page.locator("#enabled").is_disabled()
        graph.wait_until(lambda: "stale" in page.locator("#picture").get_attribute("class"), "old picture")
    camera.stop()


def test_a_hidden_page_costs_no_pictures(live, page):
    graph = live.graph

    def hears():
        return "dytrack_panel" in [i.node_name for i in graph.client.get_subscriptions_info_by_topic("/image")]

    def hide(hidden):
        page.evaluate(
            "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
            " document.dispatchEvent(new Event('visibilitychange')); }",
            hidden,
        )

    graph.wait_until(hears, "subscription")
    hide(True)
    graph.wait_until(lambda: not hears(), "its end")
    hide(False)
    last = picture(page, "stamp")
    graph.wait_until(lambda: picture(page, "stamp") != last, "pictures again")


def test_the_token_is_asked_for_and_leaves_the_address_bar_and_the_page_comes_back_with_the_node(live):
    panel, url = start_panel(live.graph, host="0.0.0.0", token=TOKEN)
    port = int(url.split(":")[2].split("/")[0])
    here = f"http://127.0.0.1:{port}/"
    context = live.chromium.new_context(viewport=DESKTOP)
    page = context.new_page()
    page.goto(here)
    page.wait_for_selector("#login:not([hidden])")
    assert not page.locator("#main").is_visible()
    page.fill("#token", "not the right token")
    page.press("#token", "Enter")
    await_text(live, page, "#login-reason", "The token is wrong")
    page.fill("#token", TOKEN)
    page.press("#token", "Enter")
    page.wait_for_selector("#picture[data-stamp]")
    context.close()

    context = live.chromium.new_context(viewport=DESKTOP)
    page = context.new_page()
    page.goto(f"{here}#token={TOKEN}")
    page.wait_for_selector("#picture[data-stamp]")
    assert page.url == here
    assert page.evaluate("history.length") <= 2
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert TOKEN not in cookie["value"]
    page.reload()  # the cookie is enough
    page.wait_for_selector("#picture[data-stamp]")

    panel.stop()
    await_text(live, page, "#connection", "does not answer; trying again")
    again, _ = start_panel(live.graph, port=port, host="0.0.0.0", token=TOKEN)
    await_text(live, page, "#connection", "connected")
    last = picture(page, "stamp")
    live.graph.wait_until(lambda: picture(page, "stamp") != last, "new pictures")
    context.close()
    again.stop()
