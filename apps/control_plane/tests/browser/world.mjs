// A server with nothing in it, and a machine with an agent and a simulated Hyper-V host: real programs in a folder.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const VMS = [
  ["web", "linux"],
  ["db", "windows"],
  ["test-old", "linux"],
];

export class World {
  #programs = [];

  constructor(server, agent, folder) {
    Object.assign(this, { server: resolve(server), agent: resolve(agent), folder: resolve(folder) });
    rmSync(this.folder, { recursive: true, force: true });
    mkdirSync(this.folder, { recursive: true });
    this.host = join(this.folder, "host");
    this.config = join(this.folder, "agent.conf");
    // Folders of companies have long names, and their paths no blank to break a line at.
    this.files = join(this.folder, "correspondence_with_customers_and_authorities_since_1998");
    mkdirSync(join(this.files, "letters"), { recursive: true });
    writeFileSync(join(this.files, "letters", "to-ann.txt"), "Dear Ann,\n");
    writeFileSync(join(this.files, "accounts.csv"), "day,amount\n");
  }

  path = (name) => join(this.folder, name);

  #start(name, program, args, env = {}) {
    const log = openSync(this.path(`${name}.log`), "a");
    const started = spawn(program, args, { stdio: ["ignore", log, log], env: { ...process.env, ...env } });
    this.#programs.push(started);
    return started;
  }

  #states = () => ({ E3_STATE_DIR: this.path("state"), E3_CACHE_DIR: this.path("cache") });

  // Starts the server on a port that is free, and returns its address. It may live by a simulated clock.
  async startServer(clock) {
    const data = this.path("server");
    mkdirSync(data, { recursive: true });
    const saidBefore = this.saidByServer().length;
    const started = this.#start("server", this.server, ["serve", "--listen", "127.0.0.1:0", "--data", data, ...(clock ? ["--sim-clock", clock] : [])]);
    for (;;) {
      const [, address] = /listens at (http:\S+)/.exec(this.saidByServer().slice(saidBefore)) ?? [];
      if (address) {
        this.stopServer = () => ended(started);
        return address;
      }
      if (started.exitCode !== null) throw new Error(`the server ended with ${started.exitCode}; see ${this.path("server.log")}`);
      await pause(50);
    }
  }

  saidByServer = () => (existsSync(this.path("server.log")) ? readFileSync(this.path("server.log"), "utf8") : "");

  // The address that the server prints for the first start from elsewhere, with the code that this takes.
  async firstStartAddress() {
    for (;;) {
      const [, address] = /make the owner's at (\S+)/.exec(this.saidByServer()) ?? [];
      if (address) return new URL(address);
      await pause(50);
    }
  }

  // Carries out a command of the agent's program to its end, and returns what it said.
  command(...args) {
    return execFileSync(this.agent, args, { encoding: "utf8", env: { ...process.env, ...this.#states() } });
  }

  makeHost() {
    this.command("sim", "create", this.host, "--name", "hv-01");
    for (const [i, [name, guest]] of VMS.entries()) {
      this.command("sim", "add-vm", this.host, "--name", name, "--guest", guest, "--new", "1G");
      this.command("sim", "write", this.host, "--vm", name, "--disk", "0", "--random", String(48 << 20), "--seed", String(i));
    }
    const often = "poll_interval_secs: 1\ncommand_poll_interval_secs: 1\n";
    writeFileSync(this.config, `hyperv_host: sim:${this.host}\ndevice_name: hv-01\nmin_free_gib: 1\n${often}`);
  }

  // Runs the line that the dashboard shows, as people would, and starts the agent.
  enrol(line) {
    const [program, ...args] = line.trim().split(/\s+/);
    if (program !== "e3-backup-agent") throw new Error(`the line to run begins with ${program}`);
    this.command(...args, "--config", this.config);
    this.#start("agent", this.agent, ["run", "--config", this.config], this.#states());
  }

  // Where a file of a name lies below a folder, if it does.
  found(folder, name) {
    const [entry] = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((e) => e.isFile() && e.name === name);
    return entry && join(entry.parentPath, entry.name);
  }

  async end() {
    for (const program of this.#programs.splice(0).reverse()) await ended(program);
  }
}

async function ended(program) {
  if (program.exitCode !== null || program.signalCode !== null) return;
  const end = new Promise((done) => program.once("exit", done));
  program.kill("SIGTERM");
  await end;
}
