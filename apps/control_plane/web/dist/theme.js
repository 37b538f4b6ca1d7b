// Sets the chosen theme before the first paint. Without a choice the system's holds.
try {
  var chosen = localStorage.getItem("e3.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch (_) {
  // Storage may be forbidden; then the system's theme holds.
}
