// What is looked with: a page in Chromium, screenshots of it in every size and theme, and what counts as a fault.

import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const axeSource = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"];

export const DESKTOP = { width: 1440, height: 900 };
export const LAPTOP = { width: 1024, height: 768 };
export const PHONE = { width: 390, height: 844 };
const SIZES = { desktop: DESKTOP, laptop: LAPTOP, phone: PHONE };
// A name of the server by which it does not take a caller for one of its own machine.
const ELSEWHERE = "backup.lan";
// Nothing that is waited for takes longer, on the slowest machine.
const PATIENCE_MS = 180_000;
const RUN_MS = 900_000;

export class Eyes {
  faults = [];
  here = "start";
  // While the server is away on purpose, the browser says so in its console.
  mayBeAway = false;
  // Which address each title of the window belongs to.
  #titles = new Map();

  static async open(address, folder, executablePath) {
    mkdirSync(folder, { recursive: true });
    const eyes = new Eyes();
    Object.assign(eyes, { address, folder });
    eyes.browser = await chromium.launch({ executablePath, args: ["--no-sandbox", `--host-resolver-rules=MAP ${ELSEWHERE} 127.0.0.1`] });
    const context = await eyes.browser.newContext({ viewport: DESKTOP, colorScheme: "light", reducedMotion: "reduce" });
    eyes.page = await context.newPage();
    eyes.#watch();
    return eyes;
  }

  close = () => this.browser.close();

  // Does what people do who call the server by its name in their network, without HTTPS.
  async elsewhere(act) {
    const here = this.address;
    const there = new URL(here);
    there.hostname = ELSEWHERE;
    this.address = there.href;
    await act();
    // A page that stays open goes on reading.
    await this.page.goto("about:blank");
    this.address = here;
  }

  fault(what, where = this.here) {
    this.faults.push(`${where}: ${what}`);
    console.log(`  FAULT ${where}: ${what}`);
  }

  #watch() {
    const { page } = this;
    page.setDefaultTimeout(PATIENCE_MS);
    page.on("console", (message) => {
      // A refusal that the screen then tells in words is no fault, but the browser writes it down.
      const isRefusal = /status of 4(01|03|09|22|29)/.test(message.text()) && this.mayBeRefused;
      if (message.type() === "error" && !this.mayBeAway && !isRefusal) this.fault(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => this.fault(`script: ${error.message}`));
    page.on("request", (request) => {
      const { origin, protocol } = new URL(request.url());
      if (origin !== new URL(this.address).origin && protocol !== "data:") this.fault(`asked ${origin}`);
    });
    page.on("response", (response) => {
      if (response.status() >= 500) this.fault(`${response.status()} from ${new URL(response.url()).pathname}`);
    });
  }

  // Does what the server refuses, which the browser's console may say.
  async refused(act) {
    this.mayBeRefused = true;
    await act();
    this.mayBeRefused = false;
  }

  // Waits until the screen has read what it shows. Live streams stay open, so the network is never idle.
  async settled() {
    await this.page.locator("h1").first().waitFor();
    await this.page.waitForFunction(() => {
      const preview = document.querySelector(".preview");
      return !document.querySelector(".loading") && (!preview || preview.querySelector("h3, .field-error"));
    });
    await this.page.evaluate(() => document.fonts.ready.then(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))));
  }

  async goto(path) {
    this.here = path;
    await this.page.goto(new URL(path, this.address).href);
    await this.settled();
  }

  button = (name) => this.page.getByRole("button", { name, exact: true });
  heading = (name, level = 1) => this.page.getByRole("heading", { level, name, exact: true });

  // What is wrong with the page as it stands.
  async inspect(name) {
    const { page } = this;
    await this.#structure(name);
    await this.#legible(name);
    const widest = await page.evaluate(() => {
      if (document.documentElement.scrollWidth <= innerWidth + 1) return "";
      const out = [...document.querySelectorAll("main *")].find((element) => element.getBoundingClientRect().right > innerWidth + 1);
      return out ? `${out.tagName} ${out.className}` : "something";
    });
    if (widest) this.fault(`the page is wider than its window: ${widest}`, name);
    await page.evaluate(axeSource);
    const found = await page.evaluate((runOnly) => globalThis.axe.run(document, { resultTypes: ["violations"], runOnly }), RULES);
    for (const violation of found.violations.filter((v) => ["serious", "critical"].includes(v.impact))) {
      const node = violation.nodes[0];
      this.fault(`axe ${violation.id}: ${violation.help}: ${node.target.join(" ")}: ${node.failureSummary?.split("\n")[1]?.trim() ?? ""}`, name);
    }
  }

  // What people who see nothing find their way by: one heading, the same words in the window's title and no other
  // address of that title, one main part.
  async #structure(name) {
    const { headings, mains, title, path } = await this.page.evaluate(() => ({
      headings: [...document.querySelectorAll("h1")].map((heading) => heading.textContent.trim()),
      mains: document.querySelectorAll("main").length,
      title: document.title,
      path: location.pathname,
    }));
    if (headings.length !== 1) this.fault(`it has ${headings.length} first headings`, name);
    if (mains !== 1) this.fault(`it has ${mains} main parts`, name);
    if (title !== `${headings[0]} · e3 backup`) this.fault(`the window is called “${title}”, not “${headings[0]}”`, name);
    // Before somebody is signed in, every address leads to the same door.
    if (["Sign in", "Welcome"].includes(headings[0])) return;
    const other = this.#titles.get(title);
    if (other && other !== path) this.fault(`${other} and ${path} are both called “${title}”`, name);
    this.#titles.set(title, path);
  }

  // What is shown can be read: nothing reaches over what stands beside it, and no program's words are shown as they are.
  async #legible(name) {
    const { over, wide, raw } = await this.page.evaluate(() => {
      const leaves = (element) => element.scrollWidth > element.clientWidth + 2;
      const told = (selector) => [...document.querySelectorAll(selector)].filter(leaves).map((element) => element.innerText.slice(0, 60));
      return {
        over: told("main td, main dd, dialog .field"),
        wide: told("main .table-box"),
        raw: /\{"|\[object |\bundefined\b|\bNaN\b/.exec(document.querySelector("main").innerText)?.[0],
      };
    });
    if (over.length) this.fault(`“${over[0]}” reaches over what stands beside it`, name);
    if (wide.length) this.fault(`a table is wider than its place: “${wide[0]}”`, name);
    if (raw) this.fault(`it shows “${raw}”`, name);
  }

  // Goes on with the Tab key alone until what has the focus is wanted; each stop on the way must be seen.
  async tabTo(isWanted, what) {
    for (let stop = 0; stop < 150; stop += 1) {
      await this.page.keyboard.press("Tab");
      const found = await this.focused();
      if (!found) continue;
      if (!found.isSeen) this.fault(`the focus is not seen at “${found.name}”`);
      if (isWanted(found)) return found;
    }
    throw new Error(`the Tab key does not lead to ${what}`);
  }

  // What has the focus, and whether that is seen.
  focused = () =>
    this.page.evaluate(() => {
      const at = document.activeElement;
      if (!at || at === document.body) return null;
      const isOutlined = (element) => {
        const { outlineStyle, outlineWidth } = getComputedStyle(element);
        return outlineStyle !== "none" && parseFloat(outlineWidth) > 0;
      };
      const { left, top, right, bottom } = at.getBoundingClientRect();
      const isInside = bottom > 0 && right > 0 && top < innerHeight && left < innerWidth;
      const over = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
      const isCovered = bottom - top < 100 && over && !at.contains(over) && !over.contains(at);
      return {
        name: (at.getAttribute("aria-label") ?? at.labels?.[0]?.innerText ?? at.innerText ?? "").trim(),
        tag: at.tagName,
        isSeen: isInside && !isCovered && (isOutlined(at) || isOutlined(at.closest("label") ?? at)),
        isInDialog: Boolean(at.closest("dialog")),
      };
    });

  // Looks at what is open now: on a desktop, a laptop and a phone, light and dark.
  async shoot(name, { isWhole = true } = {}) {
    this.here = name;
    for (const [size, viewport] of Object.entries(SIZES)) {
      await this.page.setViewportSize(viewport);
      for (const colorScheme of ["light", "dark"]) {
        await this.page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        await this.settled();
        await this.snap(`${name}-${size}-${colorScheme}`, isWhole);
        await this.inspect(`${name} (${size}, ${colorScheme})`);
      }
    }
    await this.page.setViewportSize(DESKTOP);
    await this.page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
    console.log(`  ${name}`);
  }

  snap = (name, fullPage = true) => this.page.screenshot({ path: join(this.folder, `${name}.png`), fullPage });

  async signIn(email, password) {
    const { page } = this;
    await page.getByLabel("E-mail").fill(email);
    await page.getByLabel("Password").fill(password);
    await this.button("Sign in").click();
    await page.getByRole("navigation", { name: "Main" }).waitFor();
    await this.settled();
  }

  async signOut() {
    await this.button("Sign out").click();
    await this.heading("Sign in").waitFor();
  }

  // Watches the run that is open to its end, and returns how it ended.
  async watched(name, whileGoing = async () => undefined) {
    const { page } = this;
    this.here = name;
    await page.waitForURL(/\/runs\/[^/]+$/);
    await this.settled();
    await whileGoing();
    await this.heading("How it went", 2).waitFor({ timeout: RUN_MS });
    await this.snap(`${name}-end`);
    const outcome = (await page.locator(".page-head .lead .status").first().innerText()).trim();
    console.log(`  ${name}: ${outcome}`);
    return outcome;
  }

  async watchedWell(name, whileGoing) {
    const outcome = await this.watched(name, whileGoing);
    if (!/^(Success|With warnings)$/.test(outcome)) this.fault(`it ended as ${outcome}`);
  }

  expect(isSo, what) {
    if (!isSo) this.fault(what);
  }
}
