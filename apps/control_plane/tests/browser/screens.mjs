// Every screen of a server in use, the dialogs, and the menu on a phone.

import { PHONE } from "./eyes.mjs";
import { byKeyboard } from "./keyboard.mjs";

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
  ["vm", "/?sort=-Last+point", /^\/vms\/[^/]+$/],
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

export async function everyScreen(eyes, password) {
  for (const [name, path] of SCREENS) {
    await eyes.goto(path);
    await eyes.shoot(name);
  }
  for (const [name, path, pattern] of DETAILS) {
    await eyes.goto(path);
    const links = await eyes.page.$$eval("main table a", (found) => found.map((link) => new URL(link.href).pathname));
    const first = links.find((link) => pattern.test(link));
    if (!first) {
      console.log(`  ${name}: nothing to look at on this server`);
      continue;
    }
    await eyes.goto(first);
    await eyes.shoot(name);
  }
  await dialogs(eyes, password);
  await crowded(eyes);
  await alarmOfJob(eyes);
  await notUnderstood(eyes);
  await byKeyboard(eyes);
  await menuOnPhone(eyes);
}

// The first screen with 300 VMs, some with names as long as Hyper-V allows, in every state there is; then the same as a part
// of 40,300, of which the server has to find those that are searched for.
async function crowded(eyes) {
  const { page } = eyes;
  let others = 0;
  await page.route("**/api/v1/overview*", async (route) => {
    const answer = await route.fetch();
    const overview = await answer.json();
    const [vm] = overview.vms;
    if (!vm) return route.fulfill({ response: answer });
    const healths = ["good", "good", "good", "warning", "bad", "unprotected", "excused"];
    const outcomes = ["good", "good", "warning", "missed", "failed", "none", "good"];
    overview.vms = Array.from({ length: 300 }, (_, i) => ({
      ...vm,
      id: i + 1,
      name: i % 40 ? `vm-${i}` : `a-name-${"long-".repeat(16)}${i}`,
      host_id: `host-${i % 12}`,
      host_name: `hv-${i % 12}`,
      health: healths[i % healths.length],
      health_reason: "the last good point is older than 26 h",
      strip: vm.strip.map((day, n) => ({ ...day, outcome: outcomes[(i + n * n) % outcomes.length] })),
    }));
    overview.counts = {
      ...overview.counts,
      ...{ vms: 300 + others, good: 129 + others, warning: 43, bad: 43, unprotected: 43, excused: 42, hosts: 12, hosts_online: 11 },
    };
    return route.fulfill({ response: answer, json: overview });
  });
  await eyes.goto("/");
  eyes.here = "300 VMs";
  await page.getByText("129 of 258 VMs are safe").waitFor();
  await page.mouse.move(0, 0);
  await eyes.shoot("protection-300-vms", { isWhole: false });
  await page.getByLabel("Search VMs").fill("vm-299");
  await page.getByRole("row").nth(1).getByText("vm-299").waitFor();

  others = 40_000;
  // This server has none of the others: what is typed is not passed on, so that it finds some.
  await page.route("**/api/v1/vms?*", async (route) => route.continue({ url: route.request().url().replace("q=somewhere", "q=") }));
  await eyes.goto("/");
  eyes.here = "40,300 VMs";
  await page.getByText("300 of 40,300 VMs are shown, those that need a look first.").waitFor();
  await eyes.shoot("protection-40300-vms", { isWhole: false });
  const asked = page.waitForRequest((request) => {
    const { pathname, searchParams } = new URL(request.url());
    return pathname.endsWith("/vms") && searchParams.get("q") === "somewhere" && searchParams.get("health") === "good";
  });
  await page.getByLabel("Search VMs").fill("somewhere");
  await page.getByRole("button", { name: "Safe 40,129" }).click();
  await (await asked).response();
  await page.getByText("VMs are shown, those").waitFor({ state: "detached" });
  await page.getByRole("row").nth(1).waitFor();
  await page.unroute("**/api/v1/vms?*");
  await page.unroute("**/api/v1/overview*");
}

async function dialogs(eyes, password) {
  const { page } = eyes;
  for (const [name, path, label] of DIALOGS) {
    await eyes.goto(path);
    const opener = page.getByRole("button", { name: label }).first();
    if ((await opener.count()) === 0) continue;
    await opener.click();
    await page.getByRole("dialog").waitFor();
    await eyes.shoot(name);
    if (name === "dialog-second-factor") await secondFactor(eyes, password);
    await page.keyboard.press("Escape");
  }
}

// The secret as a picture; it counts for nothing until a code is given, so the account stays as it is.
async function secondFactor(eyes, password) {
  const dialog = eyes.page.getByRole("dialog");
  await dialog.getByLabel("Your password").fill(password);
  await dialog.getByRole("button", { name: "Next" }).click();
  await dialog.getByRole("img").waitFor();
  await eyes.shoot("dialog-second-factor-code");
}

// An alarm about a job that has no VMs, such as one of files whose last point is too old, leads to the job.
async function alarmOfJob(eyes) {
  const { page } = eyes;
  const opened = new Date(Date.now() - 7_200_000).toISOString();
  const alarm = {
    id: 1,
    tenant_id: "a-tenant",
    kind: "objective_missed",
    severity: "critical",
    subject_kind: "job",
    subject_id: "a-job",
    subject_name: "Papers",
    message: "The last good point of Papers is 30 h old; its objective is 26 h. Look at its last runs, and start one.",
    detail: {},
    opened_at: opened,
    last_seen_at: opened,
    acknowledged_at: null,
    acknowledged_by: "",
    snoozed_until: null,
    resolved_at: null,
    resolved_by: "",
  };
  await page.route("**/api/v1/alarms?*", (route) => route.fulfill({ json: { items: [alarm], next: null } }));
  await eyes.goto("/alarms");
  eyes.here = "an alarm about a job";
  const item = page.locator(".alarms > li");
  await item.getByText(/^Objective missed, opened/).waitFor();
  const href = await item.getByRole("link", { name: "Papers", exact: true }).getAttribute("href");
  eyes.expect(href === "/jobs/a-job", `an alarm about a job leads to ${href}`);
  await eyes.shoot("alarms-of-job");
  await page.unroute("**/api/v1/alarms?*");
}

// What a newer or older server tells may not be understood: the screen says so, and the others can be reached.
async function notUnderstood(eyes) {
  const { page } = eyes;
  await page.route("**/api/v1/jobs?*", (route) => route.fulfill({ json: { items: [{ id: "a job without anything" }], next: null } }));
  eyes.mayBeAway = true;
  await eyes.goto("/jobs");
  await eyes.heading("This screen cannot be shown").waitFor();
  eyes.mayBeAway = false;
  await eyes.shoot("not-understood");
  await page.unroute("**/api/v1/jobs?*");
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Runs" }).click();
  await eyes.heading("Runs").waitFor();
}

async function menuOnPhone(eyes) {
  const { page } = eyes;
  eyes.here = "menu";
  await eyes.goto("/");
  await page.setViewportSize(PHONE);
  await eyes.button("Menu").click();
  await page.getByRole("link", { name: "Jobs" }).waitFor();
  await eyes.snap("menu-phone-light");
  await eyes.inspect("menu");
  await page.getByRole("link", { name: "Jobs" }).click();
  await eyes.heading("Jobs").waitFor();
  eyes.expect(!(await page.getByRole("link", { name: "Runs" }).isVisible()), "the menu stays open");
  await page.setViewportSize({ width: 1440, height: 900 });
}
