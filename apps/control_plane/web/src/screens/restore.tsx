// Restoring a point: a whole VM, its disks, or files.

import { useEffect, useState } from "react";
import { call, type Command, type Host, type Point, type Repository, type Run } from "../api";
import { baseName, moment } from "../format";
import { refresh, useGet, useList } from "../fetching";
import { go } from "../route";
import { Dialog, DialogFooter } from "../ui/dialog";
import { CheckField, Choice, FormError, SelectField, TextField, useSending } from "../ui/form";
import { Loaded } from "../ui/parts";
import { say } from "../ui/toasts";
import { Browser } from "./browser";

type Kind = "vm" | "disks" | "files";

export function RestoreDialog({ point, onClose }: { point: Point; onClose: () => void }) {
  const hosts = useList<Host>("/hosts");
  const repository = useGet<Repository>(`/repositories/${point.repository_id}`);
  // A folder on a disk is reached by its host alone.
  const only = repository.data?.host_id;
  return (
    <Dialog title={`Restore ${point.name}`} onClose={onClose} wide>
      <Loaded from={hosts}>
        {(items) => (
          <Loaded from={repository}>
            {() => <RestoreForm point={point} hosts={items.filter((host) => host.tenant_id === point.tenant_id && !host.is_disabled && (!only || host.id === only))} onClose={onClose} />}
          </Loaded>
        )}
      </Loaded>
    </Dialog>
  );
}

// By the clock of whoever restores, as everywhere on these pages.
function stampOf(point: Point): string {
  const at = new Date(point.created_at);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}_${two(at.getHours())}${two(at.getMinutes())}`;
}

// A folder that is surely not in the way of anything, named after the point: where its disks lie on their own host,
// else on the host's largest volume.
function suggestion(point: Point, host: Host | undefined): string {
  const stamp = stampOf(point);
  const name = (point.engine === "hyperv" ? point.name : baseName(point.name)).replace(/[<>:"/\\|?*]/g, "_") || "restore";
  const disk = host?.id === point.host_id && point.engine === "hyperv" ? (point.disks[0]?.path ?? "") : "";
  if (/^[A-Za-z]:/.test(disk)) return `${disk.slice(0, 2)}\\Restore\\${name}_${stamp}`;
  if (disk.startsWith("/")) return `${disk.split("/").slice(0, -2).join("/")}/${name}_${stamp}`;
  if (host && host.os !== "windows") return `/var/restore/${name}_${stamp}`;
  const volumes = (host?.volumes ?? []).filter((volume) => /^[A-Za-z]:/.test(volume.path));
  const largest = [...volumes].sort((a, b) => b.size_bytes - a.size_bytes)[0];
  return `${(largest?.path ?? "D:").slice(0, 2)}\\Restore\\${name}_${stamp}`;
}

function RestoreForm({ point, hosts, onClose }: { point: Point; hosts: Host[]; onClose: () => void }) {
  const isVm = point.engine === "hyperv";
  const [kind, setKind] = useState<Kind>(isVm ? "vm" : "files");
  const [hostId, setHostId] = useState(() => (hosts.find((host) => host.id === point.host_id) ?? hosts[0])?.id ?? "");
  const host = hosts.find((h) => h.id === hostId);
  const [path, setPath] = useState(() => suggestion(point, host));
  const [isPathOwn, setPathOwn] = useState(false);
  const [isBrowsing, setBrowsing] = useState(false);
  const [disks, setDisks] = useState(() => point.disks.map((disk) => disk.path));
  const [paths, setPaths] = useState<string[]>([]);
  const [isNewId, setNewId] = useState(true);
  const [start, setStart] = useState(false);
  const [name, setName] = useState(`${point.name} (restored ${stampOf(point)})`);
  const [network, setNetwork] = useState("");
  useEffect(() => {
    if (!isPathOwn) setPath(suggestion(point, host));
  }, [hostId, host, isPathOwn, point]);

  const sending = useSending(async () => {
    const where = { host_id: hostId, target_path: path };
    const body =
      kind === "vm"
        ? { kind, ...where, register: { new_id: isNewId, start, switch: network || null, name: name || null } }
        : kind === "disks"
          ? { kind, ...where, disks: disks.length === point.disks.length ? null : disks }
          : { kind, ...where, paths };
    const run = await call<Run>("POST", `/points/${point.id}/restore`, body);
    await refresh("/runs", "/overview");
    say("good", "The restore is queued.");
    go(`/runs/${run.id}`);
  });

  return (
    <form onSubmit={sending.onSubmit}>
      <div className="dialog-body">
        <p className="muted">
          As it was {moment(point.created_at)} on {point.host_name}, from {point.repository_name}. What is there now is not touched.
        </p>
        {isVm && (
          <Choice
            label="What"
            value={kind}
            onChange={setKind}
            options={[
              { value: "vm", name: "The whole VM", hint: "Its disks, registered as a VM on the host" },
              { value: "disks", name: "Disks only", hint: "VHDX files in a folder" },
            ]}
          />
        )}
        {kind === "files" && (
          <fieldset className="plain">
            <legend>Which files and folders</legend>
            <Browser
              label="Files in this point"
              start={(folder) => call<Command>("POST", `/points/${point.id}/browse`, { path: folder })}
              chosen={paths}
              onChoose={setPaths}
            />
            <p className="hint">{paths.length ? `${paths.length} chosen` : "Nothing chosen: everything is restored."}</p>
          </fieldset>
        )}
        {kind === "disks" && (
          <fieldset className="plain">
            <legend>Which disks</legend>
            {point.disks.map((disk) => (
              <CheckField
                key={disk.path}
                label={baseName(disk.path)}
                hint={disk.path}
                checked={disks.includes(disk.path)}
                onChange={(isOn) => setDisks(isOn ? [...disks, disk.path] : disks.filter((d) => d !== disk.path))}
              />
            ))}
          </fieldset>
        )}
        <SelectField
          label="To host"
          required
          value={hostId}
          onChange={setHostId}
          error={sending.errorOf("host_id")}
          hint={host && !host.is_online ? "This host is silent: the restore begins when its agent is back." : undefined}
          options={hosts.map((h) => ({ value: h.id, name: `${h.name}${h.is_online ? "" : " (silent)"}` }))}
        />
        <div className="with-button">
          <TextField
            label="Into folder"
            required
            spellCheck={false}
            value={path}
            onChange={(value) => {
              setPath(value);
              setPathOwn(true);
            }}
            error={sending.errorOf("target_path")}
          />
          <button type="button" aria-expanded={isBrowsing} onClick={() => setBrowsing(!isBrowsing)}>
            Browse
          </button>
        </div>
        {isBrowsing && (
          <Browser
            key={hostId}
            label="Folders of the host"
            start={(folder) => call<Command>("POST", `/hosts/${hostId}/browse`, { path: folder })}
            onFolder={(folder) => {
              if (!folder) return;
              setPath(folder);
              setPathOwn(true);
            }}
          />
        )}
        {kind === "vm" && (
          <details className="more">
            <summary>Name, network, start</summary>
            <TextField label="Name on the host" value={name} onChange={setName} />
            <TextField label="Virtual switch" hint="Empty: not connected, so that it cannot meet its original on the network." value={network} onChange={setNetwork} />
            <CheckField label="As a new VM" hint="With an id of its own, beside the original." checked={isNewId} onChange={setNewId} />
            <CheckField label="Start it when it is restored" checked={start} onChange={setStart} />
          </details>
        )}
        <FormError error={sending.error} fields={["host_id", "target_path"]} />
      </div>
      <DialogFooter onClose={onClose} disabled={sending.isBusy || !hostId || (kind === "disks" && disks.length === 0)} action="Restore" />
    </form>
  );
}
