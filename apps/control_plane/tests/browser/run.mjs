// Drives the dashboard in a real browser, as people would, and looks at every screen.
//
//   node tests/browser/run.mjs URL FOLDER [--email E --password P] [--acts]
//   node tests/browser/run.mjs --server FILE --agent FILE FOLDER
//   both: [--chromium PATH]
//
// The first looks at a running e3-control-plane. A new one is set up, with the account that is named (or one of our
// own); one that is in use is signed in to. With --acts, on a server with an agent that works, it also does what
// people do: it resolves an alarm, runs a job and watches it to its end, and restores a VM in two clicks.
//
// The second starts a server of its own, with nothing in it, and a machine with an agent and a simulated Hyper-V
// host, all in FOLDER/world, which it makes anew. It does what people do from the first start on: the guide, a host
// enrolled, VMs protected by their names, a run watched live, a VM and a file restored, a point pinned, an alarm
// resolved, people, tokens and webhooks, what each role may do, a VM restored by keyboard alone; then it looks at every
// screen, at what is left of history months later, and at a screen whose server went away.
//
// FOLDER takes the screenshots: every screen on a desktop, a laptop and a phone, light and dark. It fails on an error
// in the console, on a request to another server, on a page that is wider than its window, and on what axe finds
// serious. It wants `npm ci` in `web/` and Debian's chromium.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { history, tenants } from "./effects.mjs";
import { Eyes } from "./eyes.mjs";
import { firstStart, serverGone } from "./first_start.mjs";
import { everyScreen } from "./screens.mjs";
import { World } from "./world.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    server: { type: "string" },
    agent: { type: "string" },
    email: { type: "string", default: "owner@example.com" },
    password: { type: "string", default: "a long enough password" },
    acts: { type: "boolean", default: false },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
const isFresh = Boolean(options.server && options.agent);
if (positionals.length !== (isFresh ? 1 : 2)) {
  console.error("usage: node run.mjs URL FOLDER [--email E --password P] [--acts] [--chromium PATH]");
  console.error("       node run.mjs --server FILE --agent FILE FOLDER [--chromium PATH]");
  process.exit(2);
}
const folder = positionals.at(-1);
mkdirSync(folder, { recursive: true });
const world = isFresh ? new World(options.server, options.agent, join(folder, "world")) : null;

async function acts(eyes) {
  const { page } = eyes;
  await eyes.goto("/alarms");
  eyes.here = "resolving an alarm";
  const alarms = page.locator(".alarms > li");
  const before = await alarms.count();
  if (before > 0) {
    await alarms.first().getByRole("button", { name: "Resolve" }).click();
    await page.getByText("Resolved.", { exact: true }).waitFor();
    await page.waitForFunction((n) => document.querySelectorAll(".alarms > li").length < n, before);
    console.log("  an alarm is resolved");
  }
  await eyes.goto("/jobs");
  await page.getByRole("button", { name: /^Run .* now$/ }).first().click();
  await eyes.watchedWell("run-live");
  await eyes.goto("/");
  const [vm] = await page.$$eval("tbody tr", (rows) =>
    rows.filter((row) => row.innerText.includes("Safe")).map((row) => new URL(row.querySelector("td.name a").href).pathname),
  );
  if (!vm) return eyes.fault("no VM is safe, so none can be restored");
  await eyes.goto(vm);
  await eyes.button("Restore the newest…").click();
  await page.getByRole("dialog").getByRole("button", { name: "Restore", exact: true }).click();
  await eyes.watchedWell("restore-live");
}

async function everything(eyes) {
  const answer = await eyes.page.goto(eyes.address);
  const policy = answer?.headers()["content-security-policy"] ?? "";
  if (!/default-src 'none'/.test(policy) || /unsafe/.test(policy)) eyes.fault(`the content security policy is not strict: ${policy || "none"}`);
  await eyes.settled();
  if (await eyes.heading("Welcome").count()) {
    await firstStart(eyes, world, options);
    if (!world) await eyes.signOut();
  }
  await eyes.shoot("sign-in");
  await eyes.signIn(options.email, options.password);
  await everyScreen(eyes, options.password);
  if (options.acts) await acts(eyes);
  if (!world) return;
  await tenants(eyes, "web");
  await history(eyes, world, options);
  await serverGone(eyes, world);
}

let faults = ["nothing was looked at"];
try {
  world?.makeHost();
  const eyes = await Eyes.open(world ? await world.startServer() : positionals[0], folder, options.chromium);
  ({ faults } = eyes);
  try {
    await everything(eyes);
  } catch (error) {
    eyes.fault(error.message);
    await eyes.snap("broken").catch(() => undefined);
  } finally {
    await eyes.close();
  }
} finally {
  await world?.end();
}
console.log(faults.length ? `${faults.length} faults` : "no faults");
process.exit(faults.length ? 1 : 0);
