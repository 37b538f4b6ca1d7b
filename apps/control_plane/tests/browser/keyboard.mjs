// The ways of those who use the keyboard alone: signing in, a VM restored from a point, and where the focus goes.

export async function byKeyboard(eyes) {
  const { page } = eyes;
  await eyes.goto("/hosts");
  eyes.here = "keyboard";
  await page.keyboard.press("Tab");
  const first = await page.evaluate(() => document.activeElement?.className);
  eyes.expect(first === "skip", `the first stop is not the skip link but ${first}`);
  await eyes.tabTo(({ name }) => name === "Enrol a host", "“Enrol a host”");
  const opener = eyes.button("Enrol a host").first();
  await inDialog(eyes, opener, /^What is it for/);
  await focusOnNewScreens(eyes);
  await chartByKeyboard(eyes);
}

// Opens a dialog from the button that has the focus, and leaves it again.
async function inDialog(eyes, opener, firstField) {
  const { page } = eyes;
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  const first = await eyes.focused();
  eyes.expect(firstField.test(first?.name ?? ""), `the dialog begins at “${first?.name}”`);
  // All the way round, and a little further.
  for (let i = 0; i < 16; i += 1) {
    await page.keyboard.press("Tab");
    const at = await eyes.focused();
    eyes.expect(at === null || at.isInDialog, `the focus left the dialog for “${at?.name}”`);
    eyes.expect(at === null || at.isSeen, `the focus is not seen at “${at?.name}”`);
  }
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  eyes.expect(await opener.evaluate((element) => element === document.activeElement), "the focus did not come back from the dialog");
}

// A new screen takes the focus at its heading, whichever way people came.
async function focusOnNewScreens(eyes) {
  const { page } = eyes;
  const isAtHeading = async (way) => {
    await eyes.settled();
    eyes.expect(await page.evaluate(() => document.activeElement?.tagName === "H1"), `a new screen does not take the focus: ${way}`);
  };
  await eyes.goto("/");
  eyes.expect(await page.evaluate(() => document.activeElement === document.body), "a page that was just opened does not begin at its top");
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Jobs" }).click();
  await eyes.heading("Jobs").waitFor();
  await isAtHeading("from the navigation");
  await page.getByRole("link", { name: "New job" }).press("Enter");
  await eyes.heading("New job").waitFor();
  await isAtHeading("by a link in the screen that went");
  await page.getByRole("navigation", { name: "Where this belongs" }).getByRole("link").press("Enter");
  await eyes.heading("Jobs").waitFor();
  await isAtHeading("by the way back above the heading");
  await page.goBack();
  await eyes.heading("New job").waitFor();
  await isAtHeading("by the browser's way back");
}

// A chart says its values one by one.
async function chartByKeyboard(eyes) {
  await eyes.goto("/");
  eyes.here = "chart";
  const chart = eyes.page.locator(".chart").first();
  if ((await chart.count()) === 0) return;
  await chart.locator(".plot").focus();
  await eyes.page.keyboard.press("Home");
  const told = await chart.getByRole("status").innerText();
  eyes.expect(/: [\d.]+ .?i?B/.test(told), `the first value is not told but “${told}”`);
}

// Signs in, opens a VM, and restores it from a point: with Tab, Enter and Escape alone.
export async function restoreByKeyboard(eyes, vm, { email, password }) {
  const { page } = eyes;
  eyes.here = "restore by keyboard";
  await eyes.heading("Sign in").waitFor();
  const field = await eyes.focused();
  eyes.expect(field?.name === "E-mail", `signing in begins at “${field?.name}”`);
  await page.keyboard.type(email);
  await eyes.tabTo(({ name }) => name === "Password", "the password");
  await page.keyboard.type(password);
  await page.keyboard.press("Enter");
  await eyes.heading("Protection").waitFor();
  await eyes.settled();
  await eyes.tabTo(({ tag, name }) => tag === "A" && name === vm, `the VM ${vm}`);
  await page.keyboard.press("Enter");
  await eyes.heading(vm).waitFor();
  await eyes.settled();
  const opener = await eyes.tabTo(({ name }) => name.startsWith("Restore from "), "a point's button");
  await eyes.snap("keyboard-point");
  await inDialog(eyes, eyes.button(opener.name).first(), /^Restore web$|^To host/);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByLabel("Into folder").waitFor();
  await eyes.snap("keyboard-dialog");
  await eyes.tabTo(({ tag, name }) => tag === "BUTTON" && name === "Restore", "“Restore”");
  await page.keyboard.press("Enter");
  await eyes.watchedWell("restore-by-keyboard");
}
