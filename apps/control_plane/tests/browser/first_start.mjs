// What people do with a server that is new, from the first start to the morning on which something is wrong. It is
// done in the browser alone; the machine does only what a machine does.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { makeToken, movedFolder, passwordAnew, pins, ticksOfTokens, verifiedByHand, webhooks } from "./effects.mjs";
import { PHONE } from "./eyes.mjs";
import { restoreByKeyboard } from "./keyboard.mjs";

export async function firstStart(eyes, world, { email, password }) {
  const { page } = eyes;
  eyes.expect((await page.getByLabel("Setup code").count()) === 0, "the server's own machine is asked for the setup code");
  await eyes.shoot("first-start");
  await fillAccount(eyes, { email, password, zone: "Nowhere/Land" });
  await refusedAt(eyes, "Time zone");
  await eyes.shoot("first-start-refused");
  if (world) {
    await eyes.elsewhere(() => fromElsewhere(eyes, world, { email, password }));
    await eyes.goto("/");
    await eyes.signIn(email, password);
    await eyes.goto("/guide");
  } else {
    await page.getByLabel("Time zone").fill("Europe/Berlin");
    await eyes.button("Create the account").click();
  }
  await eyes.heading("The first backup").waitFor();
  await eyes.settled();
  await eyes.shoot("guide-1-repository");
  if (!world) return;
  await guide(eyes, world);
  await protection(eyes);
  await restoreVm(eyes, world);
  await pins(eyes, "web");
  await movedFolder(eyes, "hv-01", () => files(eyes, world));
  await passwordAnew(eyes, password);
  await verifiedByHand(eyes);
  await alarm(eyes, world);
  await people(eyes, password);
  await webhooks(eyes);
  await ticksOfTokens(eyes, { email, password });
  await eyes.signOut();
  await roles(eyes, password);
  await restoreByKeyboard(eyes, "web", { email, password });
  await eyes.signOut();
}

// Tries to create the account, which the server refuses for what a field has.
async function refusedAt(eyes, label) {
  const { page } = eyes;
  await eyes.refused(async () => {
    await eyes.button("Create the account").click();
    await page.locator(".field-error").waitFor();
  });
  eyes.expect(await page.getByLabel(label).evaluate((field) => field.getAttribute("aria-invalid") === "true"), `what is wrong is not said at ${label}`);
}

async function fillAccount({ page }, { email, password, zone }) {
  await page.getByLabel("Your name").fill("Robin Owner");
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.getByLabel("Organisation").fill("Example Ltd");
  await page.getByLabel("Time zone").fill(zone);
}

// From elsewhere than the server's own machine, the first start takes the code that the server printed. The address
// that it prints has the code; by another address it is typed.
async function fromElsewhere(eyes, world, { email, password }) {
  const { page } = eyes;
  await eyes.goto("/");
  eyes.here = "first start from elsewhere";
  await page.getByLabel("Setup code").fill("WRONG-CODE");
  await fillAccount(eyes, { email, password, zone: "Europe/Berlin" });
  await refusedAt(eyes, "Setup code");
  await eyes.shoot("first-start-code-refused");
  const { pathname, hash } = await world.firstStartAddress();
  await page.goto("about:blank");
  await eyes.goto(pathname + hash);
  const code = new URLSearchParams(hash.slice(1)).get("code");
  eyes.expect((await page.getByLabel("Setup code").inputValue()) === code, "the code of the address is not in its field");
  eyes.expect(!page.url().includes(code), "the code stays in the address");
  await eyes.shoot("first-start-code");
  await fillAccount(eyes, { email, password, zone: "Europe/Berlin" });
  await page.getByLabel("Time zone").press("Enter");
  await eyes.heading("The first backup").waitFor();
  console.log("  the first start from elsewhere took the code");
}

async function guide(eyes, world) {
  const { page } = eyes;
  await page.getByRole("radio", { name: /^Folder/ }).check();
  await page.getByRole("textbox", { name: "Name" }).fill("Basement");
  await page.getByRole("textbox", { name: "Folder" }).fill(world.path("repository"));
  await eyes.button("Save the repository").click();
  await eyes.button("Make the command").waitFor();
  await eyes.shoot("guide-2-host");
  await eyes.button("Make the command").click();
  await page.getByText("Waiting for the host to show up").waitFor();
  await eyes.shoot("guide-2-host-command");
  world.enrol(await page.getByLabel("The command to run on the host").innerText());
  await page.getByText("is enrolled").waitFor();
  await eyes.snap("guide-2-host-enrolled");
  console.log("  a host is enrolled");
  await eyes.button("Next: the job").click();

  eyes.here = "guide-3-job";
  await page.getByRole("radio", { name: /^By name/ }).check();
  await page.getByLabel("Names like", { exact: true }).fill("web*\ndb*");
  await page.getByRole("heading", { name: "2 of 3 VMs" }).waitFor();
  // So slow that it can be watched.
  await page.getByLabel("Bandwidth at most").fill("8192");
  await page.getByRole("heading", { name: "Points kept after a year" }).waitFor();
  await eyes.shoot("guide-3-job");
  await eyes.button("Create the job").click();
  await eyes.button("Run “Nightly, hv-01” now and watch").waitFor();
  await eyes.shoot("guide-4-run");
  await eyes.button("Run “Nightly, hv-01” now and watch").click();
  await eyes.watchedWell("run-live", async () => {
    await eyes.heading("VMs and disks", 2).waitFor();
    const vms = page.locator(".vm-progress > li");
    await vms.first().waitFor();
    await eyes.shoot("run-live");
    eyes.expect((await page.getByRole("progressbar").count()) > 0 || (await eyes.heading("How it went", 2).count()) > 0, "a run that goes on shows no progress");
  });
  await page.locator(".vm-progress > li").nth(1).waitFor();
  eyes.expect(/web[\s\S]*db|db[\s\S]*web/.test(await page.locator(".vm-progress").innerText()), "the run does not tell of both VMs");
}

// The first screen, after the first night: who is safe, and who is not.
async function protection(eyes) {
  await eyes.goto("/");
  const row = (name) => eyes.page.getByRole("row").filter({ has: eyes.page.getByRole("link", { name, exact: true }) });
  for (const name of ["web", "db"]) await row(name).getByText("Safe", { exact: true }).waitFor();
  await row("test-old").getByText("Unprotected", { exact: true }).waitFor();
  await eyes.shoot("protection-first-morning");
}

// To a host whose agent is older than 2.0.0, disks come back, and no VM as a whole.
async function olderAgent(eyes) {
  const { page } = eyes;
  await page.route("**/api/v1/hosts?*", async (route) => {
    const answer = await route.fetch();
    const list = await answer.json();
    list.items = list.items.map((host) => ({ ...host, agent_version: "1.9.0" }));
    return route.fulfill({ response: answer, json: list });
  });
  await page.reload();
  await eyes.heading("web").waitFor();
  await eyes.settled();
  await eyes.button("Restore the newest…").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("Its agent (1.9.0) restores disks alone").waitFor();
  await eyes.shoot("dialog-restore-older-agent");
  eyes.expect(await dialog.getByRole("radio", { name: /^The whole VM/ }).isDisabled(), "a whole VM is offered to an older agent");
  eyes.expect(await dialog.getByRole("radio", { name: /^Disks only/ }).isChecked(), "the disks are not what is left to choose");
  await page.keyboard.press("Escape");
  await page.unroute("**/api/v1/hosts?*");
  await page.reload();
  await eyes.heading("web").waitFor();
  await eyes.settled();
}

// Two clicks from the page of a VM.
async function restoreVm(eyes, world) {
  const { page } = eyes;
  await page.getByRole("link", { name: "web", exact: true }).first().click();
  await eyes.heading("web").waitFor();
  await eyes.settled();
  await eyes.shoot("vm-one-point");
  await olderAgent(eyes);
  await eyes.button("Restore the newest…").click();
  await page.getByRole("dialog").getByLabel("Into folder").waitFor();
  await eyes.shoot("dialog-restore-vm");
  await page.getByRole("dialog").getByRole("button", { name: "Restore", exact: true }).click();
  await eyes.watchedWell("restore-vm");
  const vms = world.command("sim", "show", world.host);
  eyes.expect(vms.includes("web (restored "), `the host has no VM that was restored:\n${vms}`);
}

// A job for files, made by hand, and one file of it brought back.
async function files(eyes, world) {
  const { page } = eyes;
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Jobs" }).click();
  await page.getByRole("link", { name: "New job" }).click();
  // While no disk or folder is named there is nothing to preview, which the server refuses.
  await eyes.refused(async () => {
    await page.getByRole("radio", { name: /^Disk/ }).check();
    await page.getByText("hv-01 does not make images of disks.").waitFor();
    await eyes.shoot("job-disk-image");
    await page.getByRole("radio", { name: /^Files/ }).check();
    await page.getByLabel("Folders", { exact: true }).fill(world.files);
    await page.locator(".preview .field-error").waitFor({ state: "detached" });
  });
  await page.getByLabel("Name", { exact: true }).fill("Papers");
  await page.getByRole("radio", { name: "Cron" }).check();
  await eyes.refused(async () => {
    await page.getByLabel("Cron expression").fill("every day");
    await page.locator(".preview .field-error").waitFor();
    await eyes.button("Create the job").click();
    await page.locator("form .panel .field-error").waitFor();
  });
  await eyes.shoot("job-refused");
  await page.getByLabel("Cron expression").fill("0 3 * * *");
  await eyes.button("Create the job").click();
  await eyes.heading("Papers").waitFor();
  await eyes.button("Run now").click();
  await eyes.watchedWell("run-files");

  eyes.here = "restore-files";
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Restore" }).click();
  await page.getByLabel("Kind", { exact: true }).selectOption({ label: "Files and folders" });
  const asked = page.waitForRequest((request) => /\/points\/\d+\/browse$/.test(request.url()));
  await page.getByRole("button", { name: /^Restore .* as it was/ }).first().click();
  const dialog = page.getByRole("dialog");
  const chosen = await dialog.getByLabel("To host").inputValue();
  eyes.expect(chosen && (await asked).postDataJSON().host_id === chosen, "another host than the one that is chosen looks into the point");
  await dialog.getByRole("button", { name: "letters" }).click();
  await dialog.getByRole("checkbox", { name: "Choose to-ann.txt" }).check();
  await eyes.shoot("dialog-restore-files");
  const target = world.path("restored-files");
  await dialog.getByLabel("Into folder").fill(target);
  await dialog.getByRole("button", { name: "Restore", exact: true }).click();
  await eyes.watchedWell("restore-files");
  const found = world.found(target, "to-ann.txt");
  eyes.expect(found && readFileSync(found, "utf8") === readFileSync(join(world.files, "letters", "to-ann.txt"), "utf8"), `the file did not come back into ${target}`);
}

// A morning on which something is wrong: it stands on top, somebody takes care, it is resolved.
async function alarm(eyes, world) {
  const { page } = eyes;
  world.command("sim", "fault", world.host, "--vm", "db", "--always", "job-fails-at", "create");
  await eyes.goto("/jobs");
  await page.getByRole("button", { name: "Run Nightly, hv-01 now" }).click();
  const outcome = await eyes.watched("run-with-fault");
  eyes.expect(/^(Failed|In part|With warnings)$/.test(outcome), `a run with a fault ended as ${outcome}`);
  world.command("sim", "fault", world.host, "--vm", "db", "--clear");
  await eyes.goto("/");
  eyes.here = "alarm";
  const panel = page.locator(".decisions");
  const failed = panel.locator("li").filter({ hasText: /failed/i }).first();
  await failed.waitFor();
  await eyes.shoot("protection-with-alarm");
  await failed.getByRole("button", { name: "Acknowledge" }).click();
  await failed.getByText(/taken care of by/).waitFor();
  await eyes.goto("/alarms");
  const items = page.locator(".alarms > li");
  const open = items.filter({ hasText: /failed/i });
  const before = await open.count();
  await eyes.shoot("alarms-acknowledged");
  await open.first().getByRole("button", { name: "Resolve" }).click();
  await page.getByText("Resolved.", { exact: true }).waitFor();
  await page.waitForFunction((n) => [...document.querySelectorAll(".alarms > li")].filter((li) => /failed/i.test(li.textContent)).length < n, before);
  await eyes.button("Resolved").click();
  await items.filter({ hasText: /by .*owner|by .*@/i }).first().waitFor();
  console.log("  an alarm was seen, taken care of and resolved");
}

async function people(eyes, password) {
  const { page } = eyes;
  const dialog = page.getByRole("dialog");
  for (const [name, role] of [["Vera Viewer", "viewer"], ["Otto Operator", "operator"]]) {
    await eyes.goto("/manage/people");
    await eyes.button("Add a person").click();
    await dialog.getByLabel("Name", { exact: true }).fill(name);
    await dialog.getByLabel("E-mail").fill(`${role}@example.com`);
    await dialog.getByLabel("Role").selectOption(role);
    await dialog.getByLabel("Password").fill(password);
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.waitFor({ state: "detached" });
    await page.getByText(name).waitFor();
  }
  await eyes.button("Add a person").click();
  await dialog.getByLabel("Name", { exact: true }).fill("Vera again");
  await dialog.getByLabel("E-mail").fill("viewer@example.com");
  await dialog.getByLabel("Password").fill(password);
  await eyes.refused(async () => {
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.getByRole("alert").waitFor();
  });
  await eyes.shoot("person-refused");
  await page.keyboard.press("Escape");
  await makeToken(eyes, "Monitoring", "token-made");
  await eyes.goto("/manage/settings");
  await page.getByLabel("Address", { exact: true }).fill("https://backup.example.com");
  await eyes.button("Save the settings").click();
  await page.getByText("Saved.", { exact: true }).waitFor();
  await eyes.goto("/manage/audit");
  for (const what of ["Set the server up", "Enrolled", "Restored", "Resolved"]) await page.getByRole("cell", { name: what, exact: true }).first().waitFor();
  console.log("  people, tokens and settings were changed, and the audit log knows");
}

// Viewers look, operators work, owners manage: nobody is offered what would be refused.
const NOT_OFFERED = {
  viewer: [
    ["/", /^(Acknowledge|Resolve)$/],
    ["/jobs", /now$|^New job$/],
    ["/points", /^Restore /],
    ["/hosts", /^Enrol/],
    ["/repositories", /^Add/],
  ],
  operator: [
    ["/hosts", /^Enrol/],
    ["/repositories", /^Add/],
    ["/alarms/channels", /^Add/],
  ],
};

async function roles(eyes, password) {
  const { page } = eyes;
  for (const [role, places] of Object.entries(NOT_OFFERED)) {
    await eyes.signIn(`${role}@example.com`, password);
    const nav = page.getByRole("navigation", { name: "Main" });
    eyes.expect((await nav.getByRole("link", { name: "Manage" }).count()) === 0, `a ${role} is led to Manage`);
    for (const [path, label] of places) {
      await eyes.goto(path);
      eyes.here = `${path} as ${role}`;
      for (const kind of ["button", "link"]) {
        const found = page.getByRole("main").getByRole(kind, { name: label });
        eyes.expect((await found.count()) === 0, `what ${label} names is offered`);
      }
    }
    await eyes.goto("/manage/people");
    await page.getByText("This is for owners").waitFor();
    if (role === "viewer") {
      await eyes.goto("/jobs/new");
      await page.getByText("This is for operators and owners").waitFor();
    }
    await eyes.goto("/");
    await eyes.shoot(`protection-${role}`);
    await eyes.signOut();
  }
}

// The server goes away under a page that is open: it says so, and does not lose what it shows.
export async function serverGone(eyes, world) {
  const { page } = eyes;
  await eyes.goto("/");
  eyes.here = "server gone";
  eyes.mayBeAway = true;
  await world.stopServer();
  await page.getByText(/does not answer/).first().waitFor();
  eyes.expect((await page.getByRole("link", { name: "web", exact: true }).count()) > 0, "what was shown is lost");
  await eyes.snap("server-gone-desktop-light");
  await page.setViewportSize(PHONE);
  await eyes.snap("server-gone-phone-light");
  await eyes.inspect("server gone");
}
