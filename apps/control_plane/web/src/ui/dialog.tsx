// Dialogs: the browser's own, which keep the focus inside, close on Escape and give the focus back. They begin at their
// first field, else where they can be left as it was, else at their heading.

import { type ReactNode, useId, useLayoutEffect, useRef, useState } from "react";

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ReactNode;
  wide?: boolean;
}

const FIRST = ".dialog-body :is(input:not([type='radio'], [type='hidden']), input:checked, select, textarea), footer button";

export function Dialog({ title, onClose, children, wide }: DialogProps) {
  const box = useRef<HTMLDialogElement>(null);
  const id = useId();
  // Before it leaves the page it is closed, which gives the focus back.
  useLayoutEffect(() => {
    const dialog = box.current;
    if (dialog && !dialog.open) {
      dialog.showModal();
      (dialog.querySelector<HTMLElement>(FIRST) ?? dialog.querySelector("h2"))?.focus();
    }
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={box}
      aria-labelledby={id}
      className={wide ? "wide" : ""}
      onCancel={(event) => {
        if (event.target !== box.current) return;
        event.preventDefault();
        onClose();
      }}
    >
      <header>
        <h2 id={id} tabIndex={-1}>
          {title}
        </h2>
        <button type="button" className="quiet" aria-label="Close" onClick={onClose}>
          ×
        </button>
      </header>
      {children}
    </dialog>
  );
}

interface FooterProps {
  onClose: () => void;
  disabled: boolean;
  action: string;
  tone?: "primary" | "danger";
}

// The end of a dialog with a form: leave it, or send it.
export const DialogFooter = ({ onClose, disabled, action, tone = "primary" }: FooterProps) => (
  <footer>
    <button type="button" onClick={onClose}>
      Cancel
    </button>
    <button type="submit" className={tone} disabled={disabled}>
      {action}
    </button>
  </footer>
);

interface ConfirmProps {
  label: string;
  title: string;
  children: ReactNode;
  confirm?: string;
  className?: string;
  onConfirm: () => Promise<unknown>;
}

// A button that asks before it does what cannot be taken back.
export function ConfirmButton({ label, title, children, confirm = label, className = "", onConfirm }: ConfirmProps) {
  const [isOpen, setOpen] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const act = async () => {
    setBusy(true);
    try {
      await onConfirm();
    } catch {
      // What went wrong was said where it was done.
    } finally {
      setBusy(false);
      setOpen(false);
    }
  };
  return (
    <>
      <button type="button" className={className} onClick={() => setOpen(true)}>
        {label}
      </button>
      {isOpen && (
        <Dialog title={title} onClose={() => setOpen(false)}>
          <div className="dialog-body">{children}</div>
          <footer>
            <button type="button" onClick={() => setOpen(false)}>
              Keep as it is
            </button>
            <button type="button" className="danger" disabled={isBusy} onClick={() => void act()}>
              {confirm}
            </button>
          </footer>
        </Dialog>
      )}
    </>
  );
}
