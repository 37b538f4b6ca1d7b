import { defineConfig } from "vite";

// The output is committed and embedded in the server, so it must come out the same wherever it is built. Nothing
// may be inlined into the page: its content security policy takes scripts and styles from files of ours alone.
export default defineConfig({
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
    // Some libraries mark their files for a framework that renders on a server, which ours does not.
    rolldownOptions: { onLog: (level, log, next) => log.code === "MODULE_LEVEL_DIRECTIVE" || next(level, log) },
  },
  server: { proxy: { "/api": process.env.E3_SERVER ?? "http://127.0.0.1:8080" } },
});
