// One person's way through MLflow's own screens: the words on each, and what went wrong on the way.

/** The words of the screen and of what lies over it. */
const words = () =>
  [document.querySelector("main") ?? document.body, ...document.querySelectorAll("[role=dialog], [role=alert]")]
    .map((part) => part.innerText.trim())
    .join("\n\n");

/**
 * Takes steps, each a place to go (`go`), something to press (`press`) or to fill in (`fill`: where, and with what), and
 * each until something is to be seen (`shows`), nothing is asked for and nothing changes any more. The clock is half a day ahead, so that ages are equal: they change in words once an hour.
 */
export async function walk(page, url, steps) {
  const asking = new Set();
  const failed = new Set();
  page.on("request", (request) => ["fetch", "xhr"].includes(request.resourceType()) && asking.add(request));
  for (const end of ["requestfinished", "requestfailed"]) page.on(end, (request) => asking.delete(request));
  page.on("response", (answer) => {
    if (answer.status() >= 400) failed.add(`${answer.status()} ${answer.request().method()} ${new URL(answer.url()).pathname}`);
  });
  await page.clock.install({ time: Date.now() + 630 * 60_000 });
  const settled = async () => {
    let [before, since] = [null, Date.now()];
    for (const end = Date.now() + 60000; Date.now() < end; ) {
      const now = await page.evaluate(words);
      if (now !== before || asking.size > 0) [before, since] = [now, Date.now()];
      else if (Date.now() - since > 500) return now;
      await page.waitForTimeout(50);
    }
    throw new Error(`does not come to rest: asks ${[...asking].map((request) => request.url())}, says ${before}`);
  };
  const screens = [];
  for (const { go, press, fill, shows } of steps) {
    if (go) await page.goto(`${url}/${go}`);
    // Told to the element itself: MLflow's hints to newcomers lie over others.
    if (press) await page.locator(press).first().dispatchEvent("click");
    if (fill) {
      await page.locator(fill[0]).first().fill(fill[1]);
      await page.keyboard.press("Enter");
    }
    await page.getByText(shows).first().waitFor({ state: "attached", timeout: 60000 });
    screens.push(await settled());
  }
  return { screens, failed: [...failed] };
}
