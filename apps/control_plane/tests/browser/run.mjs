// Drives the dashboard in a real browser, as people would, and looks at every screen.
//
//   node tests/browser/run.mjs URL FOLDER [--email E --password P] [--acts] [--chromium PATH]
//
// URL is a running e3-control-plane. A new one is set up first, with the account that is named (or one of our own);
// one that is in use is signed in to. FOLDER takes the screenshots: every screen on a desktop and on a phone, light
// and dark. It fails on an error in the console, on a request to another server, on a page that is wider than its
// window, and on what axe finds serious. With --acts, on a server with an agent that works, it also does what people
// do: it resolves an alarm, runs a job and watches it to its end, and restores a VM in two clicks. It wants `npm ci` in `web/` and Debian's chromium.

import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseArgs } from "node:util";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const axeSource = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    email: { type: "string", default: "owner@example.com" },
    password: { type: "string", default: "a long enough password" },
    acts: { type: "boolean", default: false },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
const [address, folder] = positionals;
if (!address || !folder) {
  console.error("usage: node run.mjs URL FOLDER [--email E --password P] [--acts] [--chromium PATH]");
  process.exit(2);
}
mkdirSync(folder, { recursive: true });

const DESKTOP = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };
const faults = [];
const fault = (where, what) => {
  faults.push(`${where}: ${what}`);
  console.log(`  FAULT ${where}: ${what}`);
};

const browser = await chromium.launch({ executablePath: options.chromium, args: ["--no-sandbox"] });
const context = await browser.newContext({ viewport: DESKTOP, colorScheme: "light", reducedMotion: "reduce" });
const page = await context.newPage();
page.setDefaultTimeout(60_000);
let here = "start";
page.on("console", (message) => message.type() === "error" && fault(here, `console: ${message.text()}`));
page.on("pageerror", (error) => fault(here, `script: ${error.message}`));
page.on("request", (request) => {
  const { origin, protocol } = new URL(request.url());
  if (origin !== new URL(address).origin && protocol !== "data:") fault(here, `asked ${origin}`);
});
page.on("response", (response) => {
  if (response.status() >= 500) fault(here, `${response.status()} from ${new URL(response.url()).pathname}`);
});

// Waits until the screen has read what it shows. Live streams stay open, so the network is never idle.
async function settled() {
  await page.locator("h1").first().waitFor();
  await page.waitForFunction(() => {
    const preview = document.querySelector(".preview [aria-live]");
    return !document.querySelector(".loading") && (!preview || preview.childElementCount > 0);
  });
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

async function inspect(name) {
  const isWide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth + 1);
  if (isWide) fault(name, "the page is wider than its window");
  await page.evaluate(axeSource);
  const found = await page.evaluate(() =>
    globalThis.axe.run(document, { resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }),
  );
  for (const violation of found.violations.filter((v) => ["serious", "critical"].includes(v.impact))) {
    const node = violation.nodes[0];
    fault(name, `axe ${violation.id}: ${violation.help}: ${node.target.join(" ")}: ${node.failureSummary?.split("\n")[1]?.trim() ?? ""}`);
  }
}

async function shoot(name) {
  here = name;
  for (const [size, viewport] of [["desktop", DESKTOP], ["phone", PHONE]]) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await settled();
      await page.screenshot({ path: join(folder, `${name}-${size}-${colorScheme}.png`), fullPage: true });
      await inspect(`${name} (${size}, ${colorScheme})`);
    }
  }
  await page.setViewportSize(DESKTOP);
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
  console.log(`  ${name}`);
}

async function open(path) {
  here = path;
  await page.goto(new URL(path, address).href);
  await settled();
}

const button = (name) => page.getByRole("button", { name, exact: true });
const linksOf = (pattern) =>
  page.$$eval("main a", (links) => links.map((link) => new URL(link.href).pathname)).then((paths) => paths.filter((path) => pattern.test(path)));

async function firstStart() {
  await shoot("first-start");
  await page.getByLabel("Your name").fill("Robin Owner");
  await page.getByLabel("E-mail").fill(options.email);
  await page.getByLabel("Password").fill(options.password);
  await page.getByLabel("Organisation").fill("Example Ltd");
  await page.getByLabel("Time zone").fill("Europe/Berlin");
  await button("Create the account").click();
  await page.getByRole("heading", { level: 1, name: "The first backup" }).waitFor();
  await settled();
  await shoot("guide-1-repository");
  await page.getByRole("radio", { name: /^Folder/ }).check();
  await page.getByRole("textbox", { name: "Name" }).fill("Basement");
  await page.getByRole("textbox", { name: "Folder" }).fill("/srv/backups");
  await button("Save the repository").click();
  await button("Make the command").waitFor();
  await shoot("guide-2-host");
  await button("Make the command").click();
  await page.getByText("Waiting for the host to show up").waitFor();
  await shoot("guide-2-host-command");
  await open("/guide?step=3");
  await shoot("guide-3-job");
  await open("/guide?step=4");
  await shoot("guide-4-run");
}

async function signIn() {
  await shoot("sign-in");
  await page.getByLabel("E-mail").fill(options.email);
  await page.getByLabel("Password").fill(options.password);
  await button("Sign in").click();
  await page.getByRole("navigation", { name: "Main" }).waitFor();
  await settled();
}

async function byKeyboard() {
  await open("/hosts");
  here = "keyboard";
  await page.keyboard.press("Tab");
  const first = await page.evaluate(() => document.activeElement?.className);
  if (first !== "skip") fault(here, `the first stop is not the skip link but ${first}`);
  const opener = button("Enrol a host").first();
  await opener.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  for (let i = 0; i < 12; i += 1) await page.keyboard.press("Tab");
  const isInside = await page.evaluate(() => document.activeElement === document.body || Boolean(document.activeElement?.closest("dialog")));
  if (!isInside) fault(here, "the focus left the dialog");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  if (!(await opener.evaluate((element) => element === document.activeElement))) fault(here, "the focus did not come back from the dialog");
  await open("/");
  await page.getByRole("button", { name: "Menu" }).waitFor({ state: "hidden" });
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Runs" }).click();
  await page.getByRole("heading", { level: 1, name: "Runs" }).waitFor();
  const isHeading = await page.evaluate(() => document.activeElement?.tagName === "H1");
  if (!isHeading) fault(here, "a new screen does not take the focus");
}

const SCREENS = [
  ["protection", "/"],
  ["alarms", "/alarms"],
  ["alarms-resolved", "/alarms?state=resolved"],
  ["channels", "/alarms/channels"],
  ["jobs", "/jobs"],
  ["job-new", "/jobs/new"],
  ["runs", "/runs"],
  ["points", "/points"],
  ["hosts", "/hosts"],
  ["repositories", "/repositories"],
  ["people", "/manage/people"],
  ["tokens", "/manage/tokens"],
  ["enrolment", "/manage/enrolment"],
  ["tenants", "/manage/tenants"],
  ["audit", "/manage/audit"],
  ["settings", "/manage/settings"],
  ["account", "/account"],
  ["nowhere", "/no/such/screen"],
];
const DETAILS = [
  ["vm", "/", /^\/vms\/[^/]+$/],
  ["host", "/hosts", /^\/hosts\/[^/]+$/],
  ["job", "/jobs", /^\/jobs\/(?!new$)[^/]+$/],
  ["run", "/runs", /^\/runs\/[^/]+$/],
  ["repository", "/repositories", /^\/repositories\/[^/]+$/],
];
const DIALOGS = [
  ["dialog-restore", "/points", /^Restore .* as it was/],
  ["dialog-repository", "/repositories", "Add a repository"],
  ["dialog-channel", "/alarms/channels", "Add a channel"],
  ["dialog-person", "/manage/people", "Add a person"],
  ["dialog-second-factor", "/account", "Switch it on…"],
];

async function dialogs() {
  for (const [name, path, label] of DIALOGS) {
    await open(path);
    const opener = page.getByRole("button", { name: label }).first();
    if ((await opener.count()) === 0) continue;
    await opener.click();
    await page.getByRole("dialog").waitFor();
    await shoot(name);
    if (name === "dialog-second-factor") await secondFactor();
    await page.keyboard.press("Escape");
  }
}

// The secret as a picture; it counts for nothing until a code is given, so the account stays as it is.
async function secondFactor() {
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Your password").fill(options.password);
  await dialog.getByRole("button", { name: "Next" }).click();
  await dialog.getByRole("img").waitFor();
  await shoot("dialog-second-factor-code");
}

async function menuOnPhone() {
  here = "menu";
  await open("/");
  await page.setViewportSize(PHONE);
  await button("Menu").click();
  await page.getByRole("link", { name: "Jobs" }).waitFor();
  await page.screenshot({ path: join(folder, "menu-phone-light.png") });
  await inspect("menu");
  await page.getByRole("link", { name: "Jobs" }).click();
  await page.getByRole("heading", { level: 1, name: "Jobs" }).waitFor();
  if (await page.getByRole("link", { name: "Runs" }).isVisible()) fault(here, "the menu stays open");
  await page.setViewportSize(DESKTOP);
}

async function acts() {
  here = "resolving an alarm";
  await open("/alarms");
  const alarms = page.locator(".alarms > li");
  const before = await alarms.count();
  if (before > 0) {
    await alarms.first().getByRole("button", { name: "Resolve" }).click();
    await page.getByText("Resolved.", { exact: true }).waitFor();
    await page.waitForFunction((n) => document.querySelectorAll(".alarms > li").length < n, before);
    console.log("  an alarm is resolved");
  }
  here = "running a job";
  await open("/jobs");
  await page.getByRole("button", { name: /^Run .* now$/ }).first().click();
  await watched("run-live");
  here = "restoring a VM";
  await open("/");
  const [vm] = await page.$$eval("tbody tr", (rows) =>
    rows.filter((row) => row.innerText.includes("Safe")).map((row) => new URL(row.querySelector("td.name a").href).pathname),
  );
  if (!vm) return fault(here, "no VM is safe, so none can be restored");
  await open(vm);
  await button("Restore the newest…").click();
  await page.getByRole("dialog").getByRole("button", { name: "Restore", exact: true }).click();
  await watched("restore-live");
}

// Watches the run that is open to its end, which must be good.
async function watched(name) {
  await page.waitForURL(/\/runs\/[^/]+$/);
  await settled();
  await page.screenshot({ path: join(folder, `${name}-beginning.png`), fullPage: true });
  await page.getByRole("heading", { level: 2, name: "How it went" }).waitFor({ timeout: 600_000 });
  await page.screenshot({ path: join(folder, `${name}-end.png`), fullPage: true });
  const outcome = await page.locator(".page-head .lead .status").first().innerText();
  if (!/^(Success|With warnings)$/.test(outcome.trim())) fault(here, `it ended as ${outcome}`);
  console.log(`  ${name}: ${outcome.trim()}`);
}

try {
  const answer = await page.goto(address);
  const policy = answer?.headers()["content-security-policy"] ?? "";
  if (!/default-src 'none'/.test(policy) || /unsafe/.test(policy)) fault("start", `the content security policy is not strict: ${policy || "none"}`);
  await settled();
  if (await page.getByRole("heading", { level: 1, name: "Welcome" }).count()) {
    await firstStart();
    await button("Sign out").click();
    await page.getByRole("heading", { level: 1, name: "Sign in" }).waitFor();
  }
  await signIn();
  for (const [name, path] of SCREENS) {
    await open(path);
    await shoot(name);
  }
  for (const [name, path, pattern] of DETAILS) {
    await open(path);
    const [first] = await linksOf(pattern);
    if (!first) {
      console.log(`  ${name}: nothing to look at on this server`);
      continue;
    }
    await open(first);
    await shoot(name);
  }
  await dialogs();
  await byKeyboard();
  await menuOnPhone();
  if (options.acts) await acts();
} catch (error) {
  fault(here, error.message);
  await page.screenshot({ path: join(folder, "broken.png"), fullPage: true }).catch(() => undefined);
} finally {
  await browser.close();
}
console.log(faults.length ? `${faults.length} faults` : "no faults");
process.exit(faults.length ? 1 : 0);
