// Restoring a point: a whole VM, its disks, or files.

import { useEffect, useState } from "react";
import { call, type Command, type Host, type Point, type Repository, type Run } from "../api";
import { baseName, moment } from "../format";
import { refresh, useGet, useList } from "../fetching";
import { firstChoice, inReach, isOlderAgent } from "../reach";
import { go } from "../route";
import { Dialog, DialogFooter } from "../ui/dialog";
import { CheckField, Choice, FormError, SelectField, TextField, useSending } from "../ui/form";
import { CopyText, Loaded } from "../ui/parts";
import { say } from "../ui/toasts";
import { Browser } from "./browser";

type Kind = "vm" | "disks" | "files";

interface DialogProps {
  point: Point;
  onClose: () => void;
}

export const RestoreDialog = (props: DialogProps) => (props.point.engine === "disk_image" ? <DiskImageDialog {...props} /> : <WizardDialog {...props} />);

// An image of a disk is not restored from here: how it is.
const DiskImageDialog = ({ point, onClose }: DialogProps) => (
  <Dialog title={`Restore ${point.name}`} onClose={onClose}>
    <div className="dialog-body">
      <p>
        This point is the image of a disk as it was {moment(point.created_at)}, made by the older agent on {point.host_name || "a host that was removed"}. Agents of
        version 2 do not restore such images yet, so it is not done from here.
      </p>
      <p>
        Restore it with the older agent's own tools. Its recovery medium gets no points from this server, so where the machine cannot start, take stock Kopia
        on another one: with the password of {point.repository_name}, it restores the snapshot named here as one file, the whole disk.
      </p>
      <CopyText text={point.manifest_id} label="The snapshot in the repository" />
    </div>
    <footer>
      <button type="button" onClick={onClose}>
        Close
      </button>
    </footer>
  </Dialog>
);

function WizardDialog({ point, onClose }: DialogProps) {
  const hosts = useList<Host>("/hosts");
  const repository = useGet<Repository>(`/repositories/${point.repository_id}`);
  return (
    <Dialog title={`Restore ${point.name}`} onClose={onClose} wide>
      <Loaded from={hosts}>
        {(items) => (
          <Loaded from={repository}>
            {(of) => <RestoreForm point={point} hosts={inReach(items, point, of)} only={of.host_id ? of.host_name : null} onClose={onClose} />}
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

// What is to be known of the host that is chosen, or why there is none.
function hostHint(point: Point, hosts: Host[], host: Host | undefined, only: string | null): string | undefined {
  if (host) {
    const isVm = point.engine === "hyperv";
    const parts = [
      !host.is_online && (isVm ? "This host is silent: the restore begins when its agent is back." : "This host is silent: it cannot look into the point now, and the restore begins when its agent is back."),
      isVm && isOlderAgent(host) && `Its agent (${host.agent_version || "of a version that is not known"}) restores disks alone: whole VMs take 2.0.0 or newer.`,
    ];
    return parts.filter(Boolean).join(" ") || undefined;
  }
  if (hosts.length) return "The one that was chosen cannot be used any more.";
  if (only) return `${point.repository_name} is a folder of ${only}, which is disabled: enable it first.`;
  return `No host that is enabled reaches ${point.repository_name}: enable one, or enrol one.`;
}

interface RestoreProps {
  point: Point;
  // Those that reach it.
  hosts: Host[];
  // The name of the one host that can reach it, where there is but one.
  only: string | null;
  onClose: () => void;
}

function RestoreForm({ point, hosts, only, onClose }: RestoreProps) {
  const isVm = point.engine === "hyperv";
  const [wanted, setWanted] = useState<Kind>(isVm ? "vm" : "files");
  const [hostId, setHostId] = useState(() => firstChoice(hosts, point)?.id ?? "");
  const host = hosts.find((h) => h.id === hostId);
  // Whoever chooses another host gets back what they wanted.
  const lacksVms = host !== undefined && isOlderAgent(host);
  const kind = wanted === "vm" && lacksVms ? "disks" : wanted;
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
          As it was {moment(point.created_at)} on {point.host_name || "a host that was removed"}, from {point.repository_name}. What is there now is not touched.
        </p>
        <SelectField
          label="To host"
          required
          value={host?.id ?? ""}
          onChange={setHostId}
          error={sending.errorOf("host_id")}
          hint={hostHint(point, hosts, host, only)}
          options={[
            ...(host ? [] : [{ value: "", name: hosts.length ? "Choose one" : "None that can be used" }]),
            ...hosts.map((h) => ({ value: h.id, name: `${h.name}${h.is_online ? "" : " (silent)"}` })),
          ]}
        />
        {isVm && (
          <Choice
            label="What"
            value={kind}
            onChange={setWanted}
            options={[
              {
                value: "vm",
                name: "The whole VM",
                hint: lacksVms ? "Not on this host: its agent is older than 2.0.0" : "Its disks, registered as a VM on the host",
                isDisabled: lacksVms,
              },
              { value: "disks", name: "Disks only", hint: "VHDX files in a folder" },
            ]}
          />
        )}
        {kind === "files" && host && (
          <fieldset className="plain">
            <legend>Which files and folders</legend>
            <Browser
              key={hostId}
              label="Files in this point"
              start={(folder) => call<Command>("POST", `/points/${point.id}/browse`, { path: folder, host_id: hostId })}
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
          <button type="button" disabled={!host} aria-expanded={isBrowsing} onClick={() => setBrowsing(!isBrowsing)}>
            Browse
          </button>
        </div>
        {isBrowsing && host && (
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
      <DialogFooter onClose={onClose} disabled={sending.isBusy || !host || (kind === "disks" && disks.length === 0)} action="Restore" />
    </form>
  );
}
