// Drives a real Chromium through the gateway's own pages and says what it saw, as one line of JSON.
// node browser.mjs FOLDER_OF_NODE_MODULES JOURNEY '{"url": …, "user": …, "password": …}'
import { createRequire } from "node:module";

import { walk } from "./screens.mjs";

const [parts, journey, input] = process.argv.slice(2);
const { chromium } = createRequire(`${parts}/`)("playwright-core");
const { url, user, password, shots } = JSON.parse(input);

const browser = await chromium.launch({
  executablePath: process.env.CHROME ?? "/usr/bin/chromium-headless-shell",
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});

/** A page of its own browser profile that remembers everything that went wrong on it. */
async function open(options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  page.complaints = [];
  page.on("console", (message) => {
    // Chromium logs every answer of 400 and above; what a page does wrong is everything else.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) {
      page.complaints.push(message.text());
    }
  });
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  return page;
}

/** What a screen reader would miss on a page, and what does not fit on it. */
function faults(page) {
  return page.evaluate(() => {
    const found = [];
    const need = (ok, text) => ok || found.push(text);
    const name = (element) =>
      element.getAttribute("aria-label") || [...(element.labels ?? [])].map((label) => label.textContent).join("") ||
      element.textContent.trim();
    need(document.documentElement.lang, "no language");
    need(document.title, "no title");
    need(document.querySelectorAll("h1").length === 1, "not one h1");
    need(document.querySelectorAll("main").length === 1, "not one main");
    for (const element of document.querySelectorAll("input:not([type=hidden]), button, a[href]")) {
      need(name(element), `no name: ${element.outerHTML}`);
    }
    for (const image of document.images) need(image.hasAttribute("alt"), `no alt: ${image.outerHTML}`);
    const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
    need(new Set(ids).size === ids.length, "an id twice");
    for (const element of document.querySelectorAll("[aria-describedby], [aria-labelledby]")) {
      const ids = `${element.getAttribute("aria-describedby") ?? ""} ${element.getAttribute("aria-labelledby") ?? ""}`;
      for (const id of ids.split(" ").filter(Boolean)) need(document.getElementById(id), `no element ${id}`);
    }
    need(document.documentElement.scrollWidth <= window.innerWidth, "scrolls sideways");
    return found.map((text) => `${location.pathname}: ${text}`);
  });
}

async function signIn(page, secret = password) {
  await page.fill("input[name=username]", user);
  await page.fill("input[name=password]", secret);
  await page.keyboard.press("Enter");
}

const journeys = {
  /** Decides on two terminals by keyboard, and on three clients that wait on a loopback address. */
  async terminals() {
    const { no, yes, challenge } = JSON.parse(input);
    const page = await open();
    const found = [];
    const focused = [];
    const focus = () => page.evaluate(() => document.activeElement.value === "deny" ? "deny" : document.activeElement.name);
    await page.goto(`${url}/auth/device`);
    await Promise.all([page.waitForURL((at) => at.pathname === "/auth/device"), signIn(page)]);
    focused.push(await focus());
    found.push(...(await faults(page)));
    await page.keyboard.type(no.toLowerCase().replace("-", " "));
    await page.keyboard.press("Enter");
    await page.getByText("gpu-7").waitFor();
    focused.push(await focus());
    found.push(...(await faults(page)));
    // The button that has the focus is the one that Enter presses.
    await page.keyboard.press("Enter");
    await page.getByText("The terminal was not let in").waitFor();
    await page.goto(`${url}/auth/device?user_code=${yes}`);
    await page.press("#user_code", "Enter");
    await page.getByText("gpu-8").waitFor();
    await page.getByRole("button", { name: "Allow" }).click();
    await page.getByText("The terminal is signed in").waitFor();
    found.push(...(await faults(page)));
    // A client that waits for its answer.
    const { createServer } = await import("node:http");
    const consent = async (host, button) => {
      const server = createServer((_, answer) => answer.end("You can close this page."));
      await new Promise((done) => server.listen(0, host === "[::1]" ? "::1" : host, done));
      const callback = `http://${host}:${server.address().port}/callback`;
      const query = new URLSearchParams({
        response_type: "code", client_id: "mlgate-cli", redirect_uri: callback, state: "s", code_challenge: challenge, code_challenge_method: "S256",
      });
      await page.goto(`${url}/auth/oauth2/authorize?${query}`);
      found.push(...(await faults(page)));
      await page.getByRole("button", { name: button }).click();
      await page.waitForURL((at) => at.pathname === "/callback");
      server.close();
      return page.url();
    };
    const denied = await consent("127.0.0.1", "Deny");
    const allowed = await consent("127.0.0.1", "Allow");
    const six = await consent("[::1]", "Allow");
    return { focused, denied, allowed, six, faults: found, complaints: page.complaints };
  },

  /** Works in MLflow's own pages as one person: what they see, and what the gateway refused them on the way. */
  async mlflow() {
    const { experiment, run, hidden, shots } = JSON.parse(input);
    const page = await open({ viewport: { width: 1280, height: 800 } });
    const refused = [];
    page.on("response", (answer) => {
      if (answer.status() >= 400) refused.push(`${answer.status()} ${new URL(answer.url()).pathname}`);
    });
    const shot = (name) => (shots ? page.screenshot({ path: `${shots}/${name}.png` }) : undefined);
    await page.goto(url);
    await shot("sign-in");
    await Promise.all([page.waitForURL((at) => !at.pathname.includes("/auth/")), signIn(page)]);
    const shows = (text) => page.getByText(text, { exact: true }).first().waitFor({ timeout: 60000 });
    await page.goto(`${url}/#/experiments`);
    await shows(experiment.name);
    const list = await page.innerText("main");
    await page.goto(`${url}/#/experiments/${experiment.id}/runs/${run.id}/model-metrics`);
    await shows("loss");
    await page.locator(".js-plotly-plot").first().waitFor({ timeout: 60000 });
    await shot("mlflow");
    await page.goto(`${url}/#/experiments/${experiment.id}/runs/${run.id}/artifacts`);
    await shows("notes.txt");
    await page.getByText("notes.txt").first().click();
    await page.getByText("What was noted.").first().waitFor({ timeout: 60000 });
    const post = (path, body) =>
      page.evaluate(
        async ([path, body]) => {
          const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body });
          return answer.status;
        },
        [path, JSON.stringify(body)],
      );
    const registered = await post("ajax-api/2.0/mlflow/registered-models/create", { name: `${experiment.name.replace("/", "-")}-${user}` });
    return { sees: list.includes(experiment.name), seesHidden: list.includes(hidden), registered, refused: [...new Set(refused)] };
  },

  /** Walks through MLflow's screens: as somebody through the gateway, or as nobody past it. */
  async screens() {
    const { steps } = JSON.parse(input);
    const page = await open({ viewport: { width: 1400, height: 1000 } });
    if (user) {
      await page.goto(url);
      await Promise.all([page.waitForURL((to) => !to.pathname.includes("/auth/")), signIn(page)]);
    }
    return { ...(await walk(page, url, steps)), complaints: page.complaints };
  },

  /** Signs in by keyboard alone, after a wrong password, on the way to a page that MLflow keeps in the fragment. */
  async keyboard() {
    const page = await open();
    await page.goto(`${url}/#/experiments/7`);
    const form = page.url();
    const focus = () => page.evaluate(() => document.activeElement.name);
    const focused = [await focus()];
    await page.keyboard.type(user);
    await page.keyboard.press("Tab");
    await page.keyboard.type("not the password");
    await page.keyboard.press("Enter");
    await page.waitForSelector("[role=alert]");
    focused.push(await focus());
    await page.keyboard.type(password);
    await Promise.all([page.waitForURL((at) => !at.pathname.startsWith("/auth/")), page.keyboard.press("Enter")]);
    return { form, focused, landed: page.url(), cookies: await page.context().cookies(), complaints: page.complaints };
  },

  /** Chooses a provider by its label, signs in on whatever form that leads to, and asks MLflow for something. */
  async by_provider() {
    const { label, path } = JSON.parse(input);
    const page = await open();
    await page.goto(`${url}/`);
    // Without one, the only provider is gone to at once.
    if (label) await page.getByText(label, { exact: true }).click();
    await signIn(page);
    const home = new URL(url).origin;
    await page.waitForURL((at) => at.origin === home && !at.pathname.startsWith("/auth/"));
    const answer = await page.context().request.get(`${url}${path}`);
    return { status: answer.status(), page: await page.innerText("body"), complaints: page.complaints };
  },

  /** Opens what a terminal shows, signs in, decides, and reads the page that the terminal answers with. */
  async terminal_by_browser() {
    const { label, decide } = JSON.parse(input);
    const page = await open();
    await page.goto(url);
    if (label) await page.getByText(label, { exact: true }).click();
    await signIn(page);
    await page.getByRole("button", { name: decide, exact: true }).click();
    await page.waitForURL((at) => at.pathname === "/callback");
    return { page: await page.innerText("body"), complaints: page.complaints };
  },

  /** On any machine: opens the address that a terminal shows, signs in, types the code and decides. */
  async terminal_by_code() {
    const { label, code, decide } = JSON.parse(input);
    const page = await open();
    await page.goto(url);
    if (label) await page.getByText(label, { exact: true }).click();
    await signIn(page);
    await page.fill("input[name=user_code]", code);
    await page.keyboard.press("Enter");
    const asked = page.getByRole("button", { name: decide, exact: true });
    await asked.waitFor();
    const question = await page.innerText("main");
    await Promise.all([page.waitForResponse((answer) => answer.request().method() === "POST"), asked.click()]);
    await page.getByText("You can close this page").waitFor();
    return { question, page: await page.innerText("main"), complaints: page.complaints };
  },

  /** Signs in by a provider, signs out at the provider itself, and asks MLflow for something before and after. */
  async sign_out_elsewhere() {
    const { label, path, sign_out } = JSON.parse(input);
    const page = await open();
    await page.goto(`${url}/`);
    await page.getByText(label, { exact: true }).click();
    await signIn(page);
    const home = new URL(url).origin;
    await page.waitForURL((at) => at.origin === home && !at.pathname.startsWith("/auth/"));
    const status = async () => (await page.context().request.get(`${url}${path}`)).status();
    const before = await status();
    const framed = page.waitForResponse((answer) => answer.url().includes("frontchannel-logout"));
    await page.goto(sign_out);
    await page.click("[type=submit]");
    const frame = await framed;
    const after = await status();
    return { before, after, frame: { status: frame.status(), query: new URL(frame.url()).search }, complaints: page.complaints };
  },

  /** Signs in by a provider on another site, signs out here or there, and looks who still knows whom. */
  async sign_out_everywhere() {
    const { label, path, sign_out } = JSON.parse(input);
    const page = await open();
    const home = new URL(url).origin;
    const crossed = [];
    page.on("request", (request) => {
      if (request.method() === "POST" && request.url().startsWith(home)) crossed.push(request.allHeaders());
    });
    const choose = async () => {
      await page.goto(`${url}/`);
      await page.getByText(label, { exact: true }).click();
    };
    await choose();
    await signIn(page);
    await page.waitForURL((at) => at.origin === home && !at.pathname.startsWith("/auth/"));
    const posted = await Promise.all(crossed);
    const status = async () => (await page.context().request.get(`${url}${path}`)).status();
    const before = await status();
    if (sign_out) {
      await page.goto(sign_out);
      // Some ask first.
      const sure = page.locator("[type=submit]");
      if (await sure.count()) await sure.first().click();
      await page.waitForLoadState("networkidle");
    } else {
      await page.goto(`${url}/auth/account`);
      await page.click("text=Sign out");
      await page.waitForURL("**/auth/signed-out");
    }
    const after = await status();
    const landed = page.url();
    await choose();
    await page.waitForSelector("input[name=password]");
    return {
      before,
      after,
      landed,
      cookiesWithPost: posted.map((headers) => headers.cookie ?? ""),
      asksAgain: new URL(page.url()).origin !== home,
      complaints: page.complaints,
    };
  },

  /** Signs in, waits until the groups have grown old, and opens a page of MLflow with a fragment. */
  async asked_again() {
    const { label, old } = JSON.parse(input);
    const page = await open();
    const home = new URL(url).origin;
    await page.goto(`${url}/`);
    await page.getByText(label, { exact: true }).click();
    await signIn(page);
    await page.waitForURL((at) => at.origin === home && !at.pathname.startsWith("/auth/"));
    const session = async () => (await page.context().cookies()).find((cookie) => cookie.name === "mlgate").value;
    const first = await session();
    await page.waitForTimeout(old);
    const through = [];
    page.on("request", (request) => request.isNavigationRequest() && through.push(new URL(request.url()).pathname));
    await page.goto(`${url}/?x=1#/experiments/7`);
    await page.waitForURL((at) => at.origin === home && !at.pathname.startsWith("/auth/"));
    return { landed: page.url(), through, same: first === (await session()), complaints: page.complaints };
  },

  /** Is sent to sign in from a page, and comes back to it. */
  async comes_back() {
    const { path } = JSON.parse(input);
    const page = await open();
    await page.goto(`${url}${path}`);
    await page.waitForURL((at) => at.pathname.startsWith("/auth/"));
    const back = page.waitForResponse((answer) => answer.url() === `${url}${path}` && answer.status() !== 302);
    await signIn(page);
    await page.waitForURL((at) => !at.pathname.startsWith("/auth/"), { waitUntil: "commit" });
    const answer = await back;
    return { landed: answer.url(), status: answer.status(), complaints: page.complaints };
  },

  async without_scripts() {
    const page = await open({ javaScriptEnabled: false });
    await page.goto(`${url}/?a=b#/experiments/7`);
    await signIn(page);
    await page.waitForURL((at) => !at.pathname.startsWith("/auth/"));
    return { landed: page.url() };
  },

  /** Visits every page on a wide and a narrow screen, in light and dark, and signs out at the end. */
  async every_page() {
    const seen = { faults: [], complaints: [] };
    for (const [name, options] of Object.entries({
      light: { colorScheme: "light" },
      dark: { colorScheme: "dark" },
      phone: { viewport: { width: 320, height: 640 } },
    })) {
      const page = await open(options);
      const look = async (what) => {
        seen.faults.push(...(await faults(page)));
        if (shots) await page.screenshot({ path: `${shots}/${what}-${name}.png` });
      };
      await page.goto(`${url}/auth/login`);
      await look("sign-in");
      await signIn(page, "not the password");
      await page.waitForSelector("[role=alert]");
      await look("wrong-password");
      await signIn(page);
      await page.waitForURL((at) => !at.pathname.startsWith("/auth/"));
      await look("after");
      await page.goto(`${url}/auth/account`);
      await look("account");
      await page.goto(`${url}/auth/login/nowhere`);
      await look("error");
      await page.goto(`${url}/auth/account`);
      await page.click("text=Sign out");
      await page.waitForURL("**/auth/signed-out");
      await look("signed-out");
      seen.cookies = (await page.context().cookies()).map((cookie) => cookie.name);
      seen.complaints.push(...page.complaints);
      await page.context().close();
    }
    return seen;
  },
};

try {
  console.log(JSON.stringify(await journeys[journey]()));
} finally {
  await browser.close();
}
