// What each VM and each of its disks is at, told from a run's events and from what its agent last said of disks that
// it works on. Nothing is guessed: what nobody said is not shown.

import { type Run, type RunEvent, runsStill } from "./api";

export type Phase = "waiting" | "working" | "finishing" | "done" | "warned" | "failed";

export interface DiskProgress {
  name: string;
  phase: Phase;
  done?: number;
  total?: number;
}

export interface VmProgress {
  name: string;
  phase: Phase;
  note: string;
  disks: DiskProgress[];
}

const text = (value: unknown) => (typeof value === "string" ? value : "");
const figure = (value: unknown) => (typeof value === "number" ? value : undefined);
const NAMELESS = "This run";

// The disks of VMs that are worked on now.
function disksNow(run: Run): Record<string, unknown>[] {
  const disks = runsStill(run.status) ? run.progress?.disks : null;
  return Array.isArray(disks) ? disks.filter((disk) => typeof disk === "object" && disk !== null) : [];
}

export function progressOf(run: Run, events: RunEvent[]): VmProgress[] {
  const vms = new Map<string, VmProgress>();
  const vmOf = (name: string) => {
    const found = vms.get(name) ?? { name, phase: "working" as Phase, note: "", disks: [] };
    vms.set(name, found);
    return found;
  };
  // A restore's events of progress name the disk alone.
  const vmWithDisk = (disk: string) => [...vms.values()].find((vm) => vm.disks.some((d) => d.name === disk));
  const diskOf = (vm: VmProgress, name: string) => {
    const found = vm.disks.find((disk) => disk.name === name) ?? { name, phase: "working" as Phase };
    if (!vm.disks.includes(found)) vm.disks.push(found);
    return found;
  };
  for (const { message_id, params } of events) {
    const vmName = text(params.vm_name);
    const diskName = text(params.disk_name);
    switch (message_id) {
      case "HYPERV_VM_STARTING":
        Object.assign(vmOf(vmName), { phase: "working", note: "", disks: [] });
        break;
      case "HYPERV_DISK_STARTING": {
        const vm = vmOf(vmName);
        vm.disks.forEach((disk) => (disk.phase = "done"));
        Object.assign(diskOf(vm, text(params.disk_path)), { phase: "working", total: figure(params.size) });
        break;
      }
      case "HYPERV_FINALIZING":
        Object.assign(vmOf(vmName), { phase: "finishing", note: text(params.message) || text(params.phase) });
        break;
      case "HYPERV_VM_COMPLETE": {
        const vm = vmOf(vmName);
        const warnings = Array.isArray(params.warnings) && params.warnings.length > 0;
        const words = [text(params.backup_type).toLowerCase(), text(params.consistency)].filter(Boolean).join(", ");
        Object.assign(vm, { phase: warnings ? "warned" : "done", note: words });
        vm.disks.forEach((disk) => (disk.phase = "done"));
        break;
      }
      case "HYPERV_VM_FAILED": {
        const vm = vmOf(vmName);
        Object.assign(vm, { phase: "failed", note: text(params.message) || text(params.error) });
        vm.disks.filter((disk) => disk.phase === "working").forEach((disk) => (disk.phase = "failed"));
        break;
      }
      case "HYPERV_RESTORE_DISK_STARTING":
        diskOf(vmOf(vmName || NAMELESS), diskName).phase = "working";
        break;
      case "HYPERV_RESTORE_DISK_PROGRESS": {
        const disk = diskOf(vmWithDisk(diskName) ?? vmOf(vmName || NAMELESS), diskName);
        disk.done = figure(params.bytes_done);
        disk.total = figure(params.bytes_total);
        break;
      }
      case "HYPERV_RESTORE_DISK_COMPLETE":
      case "HYPERV_RESTORE_DISK_FAILED": {
        const vm = vmWithDisk(diskName) ?? vmOf(vmName || NAMELESS);
        const hasFailed = message_id.endsWith("FAILED");
        diskOf(vm, diskName).phase = hasFailed ? "failed" : "done";
        if (hasFailed) Object.assign(vm, { phase: "failed", note: text(params.message) });
        else if (vm.phase === "working" && vm.disks.every((disk) => disk.phase === "done") && vm.disks.length === figure(params.total_disks)) vm.phase = "done";
        break;
      }
    }
  }
  for (const now of disksNow(run)) {
    const disk = vms.get(text(now.vm_name))?.disks.find((known) => known.name === now.disk_path);
    const [done, total] = [figure(now.bytes_done), figure(now.bytes_total)];
    if (disk && done !== undefined && total !== undefined) Object.assign(disk, { done, total, phase: done < total ? "working" : "done" });
  }
  return [...vms.values()];
}

// The rates that progress events told, for a chart: the last hundred.
export function ratesOf(events: RunEvent[]): { at: string; speed: number }[] {
  return events
    .filter((event) => event.type === "progress" && typeof event.params.speed_bps === "number")
    .map((event) => ({ at: event.at, speed: event.params.speed_bps as number }))
    .slice(-100);
}
