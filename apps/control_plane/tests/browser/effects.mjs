// What people set holds: it is there after the page was loaded again, and the server does as it says.

import { createServer } from "node:http";
import { once } from "node:events";

const DAY_MS = 86_400_000;

// Whether the server takes an API token, as a program finds out.
const isTaken = async (eyes, token) =>
  (await fetch(new URL("/api/v1/hosts", eyes.address), { headers: { authorization: `Bearer ${token}` } })).status === 200;

// Retention leaves a pinned point alone; a pin is in the repository, so the host sets it.
export async function pins(eyes, vm) {
  const { page } = eyes;
  await eyes.goto("/");
  eyes.here = "pins";
  await page.getByRole("link", { name: vm, exact: true }).first().click();
  await eyes.heading(vm).waitFor();
  const point = page.getByRole("table", { name: /^Restore points/ }).getByRole("row").nth(1);
  await point.getByRole("button", { name: /^Pin the point/ }).click();
  await page.getByText("Pinned: it stays whatever retention says.").waitFor();
  await point.getByText("pinned", { exact: false }).waitFor();
  await page.reload();
  await eyes.settled();
  await point.getByRole("button", { name: /^Unpin the point/ }).waitFor();
  await eyes.shoot("vm-pinned");
  await point.getByRole("button", { name: /^Unpin the point/ }).click();
  await page.getByText("Unpinned: retention may remove it.").waitFor();
  await point.getByRole("button", { name: /^Pin the point/ }).waitFor();
  eyes.expect(!/pinned/.test(await point.innerText()), "a point that was unpinned is still called pinned");
  console.log("  a point was pinned and unpinned");
}

// A folder is its host's; after it was moved it is that of the next host that uses it.
export async function movedFolder(eyes, host, useAgain) {
  const { page } = eyes;
  const open = async () => {
    await eyes.goto("/repositories");
    await page.getByRole("table").getByRole("link").first().click();
    await page.getByText("Looked after").or(page.getByText(/due$/)).first().waitFor();
    await eyes.settled();
  };
  const where = () => page.locator(".facts > div").filter({ has: page.getByText("Where", { exact: true }) });
  await open();
  eyes.here = "moved folder";
  await where().getByText(`on ${host}`).waitFor();
  await eyes.button("Moved to another host…").click();
  await eyes.shoot("dialog-moved");
  await page.getByRole("dialog").getByRole("button", { name: "It was moved" }).click();
  await page.getByText("The next host that uses it has the folder.").waitFor();
  await eyes.button("Moved to another host…").waitFor({ state: "detached" });
  eyes.expect(!(await where().innerText()).includes(host), "the folder is still told to be of its host");
  await useAgain();
  await open();
  eyes.here = "moved folder";
  await where().getByText(`on ${host}`).waitFor();
  console.log("  a folder was given free and taken again");
}

// A verification that is asked for by hand is done by the host that stores there.
export async function verifiedByHand(eyes) {
  const { page } = eyes;
  await eyes.goto("/repositories");
  await page.getByRole("table").getByRole("link").first().click();
  await eyes.button("Verify now…").click();
  eyes.here = "verified by hand";
  await eyes.shoot("dialog-verify");
  await page.getByRole("dialog").getByRole("button", { name: "Verify now", exact: true }).click();
  await page.getByText("Queued: a host that uses the repository does it next.").waitFor();
  await page.getByRole("row").filter({ hasText: "Verification" }).first().getByText(/points? found whole/).waitFor();
  console.log("  a repository was verified by hand");
}

// The password of a repository is given to the server anew, as after a lost key; another one is kept then, and shown.
export async function passwordAnew(eyes, mine) {
  const { page } = eyes;
  const dialog = page.getByRole("dialog");
  await eyes.goto("/repositories");
  await page.getByRole("table").getByRole("link").first().click();
  const shown = async () => {
    await eyes.button("Password…").click();
    await dialog.getByLabel("Your password").fill(mine);
    await dialog.getByRole("button", { name: "Show it" }).click();
    const password = await dialog.getByLabel("The repository's password").innerText();
    await page.keyboard.press("Escape");
    return password.trim();
  };
  const give = async (password, shot) => {
    await eyes.button("Edit").click();
    await dialog.getByText("Limit, maintenance, password").click();
    await dialog.getByLabel("Password", { exact: true }).fill(password);
    if (shot) await eyes.shoot(shot);
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.waitFor({ state: "detached" });
  };
  const right = await shown();
  eyes.here = "a repository's password given anew";
  await give("not what opens it", "dialog-repository-edit");
  eyes.expect((await shown()) === "not what opens it", "the password that was given for a repository is not kept");
  await give("");
  eyes.expect((await shown()) === "not what opens it", "a password that was left empty took the place of the one that is kept");
  await give(right);
  eyes.expect((await shown()) === right, "the right password of a repository is not kept");
  console.log("  the password of a repository was given anew");
}

// Makes an API token and returns it.
export async function makeToken(eyes, name, shot) {
  const { page } = eyes;
  const dialog = page.getByRole("dialog");
  await eyes.goto("/manage/tokens");
  await eyes.button("Make a token").click();
  await dialog.getByLabel("Name", { exact: true }).fill(name);
  await dialog.getByRole("button", { name: "Make it" }).click();
  const token = await dialog.getByLabel("The token").innerText();
  if (shot) await eyes.shoot(shot);
  await dialog.getByRole("button", { name: "Done" }).click();
  await page.getByRole("cell", { name, exact: true }).waitFor();
  return token.trim();
}

// API tokens end with the password of those who made them, or do not: as two boxes say.
export async function ticksOfTokens(eyes, { email, password }) {
  const { page } = eyes;
  const dialog = page.getByRole("dialog");
  const [helper, first, second] = ["olga@example.com", `${password} 1`, `${password} 2`];
  await eyes.goto("/manage/people");
  await eyes.button("Add a person").click();
  await dialog.getByLabel("Name", { exact: true }).fill("Olga Owner");
  await dialog.getByLabel("E-mail").fill(helper);
  await dialog.getByLabel("Role").selectOption("owner");
  await dialog.getByLabel("Password").fill(password);
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "detached" });
  await eyes.signOut();
  await eyes.signIn(helper, password);
  const hers = await makeToken(eyes, "Of Olga");
  await eyes.signOut();
  await eyes.signIn(email, password);
  const mine = await makeToken(eyes, "Of Robin");

  // An owner sets a new password for somebody else.
  const setPassword = async (next, keeps) => {
    await eyes.goto("/manage/people");
    await eyes.button("Edit Olga Owner").click();
    await dialog.getByLabel("New password").fill(next);
    if (keeps) await dialog.getByRole("checkbox", { name: "Keep their API tokens" }).check();
    if (keeps) await eyes.shoot("dialog-person-password");
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.waitFor({ state: "detached" });
  };
  eyes.here = "tokens after a password was set";
  await setPassword(first, true);
  eyes.expect(await isTaken(eyes, hers), "tokens were to be kept with a new password, and were not");
  await setPassword(second, false);
  eyes.expect(!(await isTaken(eyes, hers)), "tokens were to end with a new password, and did not");
  await eyes.goto("/manage/tokens");
  eyes.expect((await page.getByRole("cell", { name: "Of Olga" }).count()) === 0, "a token that ended is still listed");

  // Somebody changes their own.
  const changeOwn = async (current, next, takesBack) => {
    await eyes.goto("/account");
    await page.getByLabel("Current password").fill(current);
    await page.getByLabel("New password").fill(next);
    if (takesBack) await page.getByRole("checkbox", { name: "Take back the API tokens that I made" }).check();
    await eyes.button("Change the password").click();
    await page.getByText(/^Your password is changed/).waitFor();
  };
  eyes.here = "tokens after one's own password was changed";
  await changeOwn(password, first, false);
  eyes.expect(await isTaken(eyes, mine), "one's own tokens ended with a changed password, though the box was not ticked");
  await changeOwn(first, password, true);
  eyes.expect(!(await isTaken(eyes, mine)), "one's own tokens were to end with a changed password, and did not");
  console.log("  API tokens ended, or not, as the boxes said");
}

// What a channel is told, by the names of its fields.
const CHANNEL = [
  ["Name", "On call"],
  ["Secret", "a secret of the two"],
  ["From", "23:15"],
  ["To", "05:45"],
  ["Summary at", "06:30"],
];

// A webhook into a private network, which the settings allow first; what a channel was told is there when it is opened
// again.
export async function webhooks(eyes) {
  const { page } = eyes;
  const heard = [];
  const receiver = createServer((request, response) => {
    heard.push(request.headers);
    request.resume().on("end", () => response.end());
  }).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  const url = `http://127.0.0.1:${receiver.address().port}/alarms`;
  const dialog = page.getByRole("dialog");
  const save = async () => {
    await eyes.goto("/alarms/channels");
    eyes.here = "webhooks";
    await eyes.button("Add a channel").first().click();
    await dialog.getByRole("radio", { name: "Webhook" }).check();
    await dialog.getByRole("checkbox", { name: "Quiet hours" }).check();
    await dialog.getByLabel("Address", { exact: true }).fill(url);
    await dialog.getByLabel("From which severity on").selectOption("critical");
    for (const [label, value] of CHANNEL) await dialog.getByLabel(label, { exact: true }).fill(value);
    await dialog.getByRole("button", { name: "Save" }).click();
  };
  await eyes.refused(async () => {
    await save();
    await dialog.locator(".field-error").getByText(/private network/).waitFor();
  });
  await eyes.shoot("channel-refused");
  await page.keyboard.press("Escape");

  const networks = "127.0.0.0/8\nhooks.example.internal";
  const field = page.getByLabel("Private addresses that webhooks may reach");
  await eyes.goto("/manage/settings");
  await field.fill(networks);
  await eyes.button("Save the settings").click();
  await page.getByText("Saved.", { exact: true }).waitFor();
  await eyes.goto("/manage/settings");
  eyes.expect((await field.inputValue()) === networks, `the addresses that were saved are now “${await field.inputValue()}”`);

  await save();
  await dialog.waitFor({ state: "detached" });
  await page.reload();
  await eyes.settled();
  await eyes.shoot("channels-webhook");
  await eyes.button("Test").click();
  await page.getByText("A test message is on its way.").waitFor();
  eyes.expect(heard.length === 1, `the receiver of a webhook heard ${heard.length} test messages`);
  eyes.expect(/^sha256=[0-9a-f]{64}$/.test(heard[0]?.["x-e3-signature"] ?? ""), "a webhook with a secret is not signed");
  await page.getByRole("button", { name: /^Edit/ }).click();
  const shown = [...CHANNEL.filter(([label]) => !["Name", "Secret"].includes(label)), ["Address", url], ["From which severity on", "critical"]];
  for (const [label, value] of shown) {
    const found = await dialog.getByLabel(label, { exact: true }).inputValue();
    eyes.expect(found === value, `${label} was saved as “${value}” and is now “${found}”`);
  }
  await dialog.getByText("One is set. Leave empty to keep it.").waitFor();
  await dialog.getByRole("checkbox", { name: "Forget the secret that is set" }).check();
  await eyes.shoot("dialog-channel-secret");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "detached" });
  const tested = page.waitForResponse((response) => response.url().endsWith("/test"));
  await eyes.button("Test").click();
  await tested;
  eyes.expect(heard.length === 2 && !heard[1]["x-e3-signature"], "a webhook whose secret was to be forgotten is still signed");
  receiver.close();
  console.log("  a webhook was called, after its network was allowed");
}

// Where several tenants are in sight, a new thing asks whose it is, and what is chosen above is all that is shown.
export async function tenants(eyes, vm) {
  const { page } = eyes;
  const dialog = page.getByRole("dialog");
  const chosen = page.getByRole("combobox", { name: "Tenant", exact: true });
  await eyes.goto("/manage/tenants");
  eyes.here = "tenants";
  await eyes.button("Add a tenant").click();
  await dialog.getByLabel("Name", { exact: true }).fill("Second Ltd");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "detached" });
  await eyes.goto("/manage/enrolment");
  await eyes.button("Make a token").click();
  await dialog.getByLabel("For", { exact: true }).fill("Theirs");
  await dialog.getByRole("button", { name: "Make it" }).click();
  eyes.expect(await dialog.getByLabel("Tenant").evaluate((field) => field.matches(":invalid")), "a token is made of nobody knows which tenant");
  await dialog.getByLabel("Tenant").selectOption("Second Ltd");
  await eyes.shoot("dialog-whose");
  await dialog.getByRole("button", { name: "Make it" }).click();
  await dialog.getByLabel("The command to run on the host").waitFor();
  await dialog.getByRole("button", { name: "Done" }).click();
  await eyes.goto("/");
  await page.getByRole("link", { name: vm, exact: true }).first().click();
  await eyes.heading(vm).waitFor();
  await chosen.selectOption("Second Ltd");
  await page.getByText("No VMs yet").waitFor();
  await eyes.goto("/manage/enrolment");
  await page.getByRole("cell", { name: "Theirs", exact: true }).waitFor();
  eyes.expect((await page.getByRole("cell", { name: "A new host" }).count()) === 0, "a tenant shows another's tokens");
  await chosen.selectOption("All tenants");
  await page.getByRole("cell", { name: "A new host" }).first().waitFor();
  console.log("  a second tenant has what was made for it, and nothing else");
}

const HISTORY = [
  ["Runs, work on repositories", "60"],
  ["Their events and logs", "40"],
  ["Alarms that are over", "50"],
  ["The audit log", "90"],
  ["Points that were removed", "45"],
  ["Commands to agents", "8"],
  ["Messages that were sent", "9"],
];

// How long history is kept: what is older goes. Some days after the last, the audit log begins anew.
// Rows come as somebody scrolls down to them.
async function wholeAuditLog(eyes) {
  const { page } = eyes;
  await eyes.goto("/manage/audit");
  const signedIn = page.getByRole("cell", { name: "Signed in", exact: true }).first();
  await signedIn.waitFor();
  const more = page.locator(".more-rows");
  while (await more.count()) {
    await more.scrollIntoViewIfNeeded().catch(() => undefined);
    await page.waitForTimeout(50);
  }
}

export async function history(eyes, world, { email, password }) {
  const { page } = eyes;
  await eyes.goto("/manage/settings");
  eyes.here = "history";
  for (const [label, days] of HISTORY) await page.getByLabel(label).fill(days);
  await eyes.button("Save the settings").click();
  await page.getByText("Saved.", { exact: true }).waitFor();
  await eyes.goto("/manage/settings");
  for (const [label, days] of HISTORY) {
    const found = await page.getByLabel(label).inputValue();
    eyes.expect(found === days, `${label}: ${days} days were saved, and now it says ${found}`);
  }
  await wholeAuditLog(eyes);
  const begun = page.getByRole("cell", { name: "Set the server up", exact: true });
  await begun.waitFor();
  eyes.mayBeAway = true;
  await world.end();
  const clock = world.path("clock");
  world.command("sim", "clock", clock, "set", new Date(Date.now() + 95 * DAY_MS).toISOString());
  eyes.address = await world.startServer(clock);
  // A clock that leaps ahead drops nothing before twelve hours have gone by.
  world.command("sim", "clock", clock, "run", "300");
  await eyes.page.goto(eyes.address);
  eyes.mayBeAway = false;
  await eyes.heading("Sign in").waitFor();
  await eyes.signIn(email, password);
  for (let i = 0; i < 200; i += 1) {
    await wholeAuditLog(eyes);
    if ((await begun.count()) === 0) break;
    await page.waitForTimeout(3000);
  }
  eyes.expect((await begun.count()) === 0, "what is older than the audit log is kept for stays in it");
  console.log("  the audit log forgot what was older than it is kept for");
}
