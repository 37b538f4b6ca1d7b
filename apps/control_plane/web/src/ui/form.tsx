// Forms: fields with labels and hints, and errors beside the field that the server named.

import { type FormEvent, type ReactNode, useId, useState } from "react";
import { ApiError } from "../api";

export interface Sending {
  isBusy: boolean;
  error: Error | null;
  errorOf: (field: string) => string | undefined;
  onSubmit: (event: FormEvent) => void;
}

// Whether an error is about a field, or about a part of it.
const isOf = (error: Error | null, name: string) =>
  error instanceof ApiError && (error.field === name || error.field?.startsWith(`${name}.`));

// Sends a form once, and keeps what the server had against it.
export function useSending(send: () => Promise<unknown>): Sending {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<Error | null>(null);
  return {
    isBusy,
    error,
    errorOf: (name) => (isOf(error, name) ? error?.message : undefined),
    onSubmit: (event) => {
      event.preventDefault();
      event.stopPropagation();
      if (isBusy) return;
      setBusy(true);
      setError(null);
      send()
        .catch((cause: Error) => setError(cause))
        .finally(() => setBusy(false));
    },
  };
}

export const FormError = ({ error, fields = [] }: { error: Error | null; fields?: string[] }) =>
  error && !(error instanceof ApiError && fields.some((field) => isOf(error, field))) ? (
    <p className="form-error" role="alert">
      {error.message}
    </p>
  ) : null;

interface FieldProps {
  label: string;
  hint?: ReactNode;
  error?: string;
  className?: string;
}

function useField({ hint, error }: FieldProps) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return { id, attributes: { id, "aria-describedby": described || undefined, "aria-invalid": error ? true : undefined } };
}

const Field = ({ id, label, hint, error, className = "", children }: FieldProps & { id: string; children: ReactNode }) => (
  <div className={`field ${className}`}>
    <label htmlFor={id}>{label}</label>
    {children}
    {hint && (
      <p className="hint" id={`${id}-hint`}>
        {hint}
      </p>
    )}
    {error && (
      <p className="field-error" id={`${id}-error`} role="alert">
        {error}
      </p>
    )}
  </div>
);

type TextProps = FieldProps & {
  value: string;
  onChange: (value: string) => void;
} & Omit<React.InputHTMLAttributes<HTMLInputElement>, "value" | "onChange" | "className">;

export function TextField({ label, hint, error, className, value, onChange, ...rest }: TextProps) {
  const { id, attributes } = useField({ label, hint, error });
  return (
    <Field {...{ id, label, hint, error, className }}>
      <input type="text" {...rest} {...attributes} value={value} onChange={(event) => onChange(event.target.value)} />
    </Field>
  );
}

type NumberProps = FieldProps & {
  value: number | null | undefined;
  onChange: (value: number | null) => void;
  unit?: string;
  min?: number;
  max?: number;
  required?: boolean;
};

export function NumberField({ label, hint, error, className, value, onChange, unit, ...rest }: NumberProps) {
  const { id, attributes } = useField({ label, hint, error });
  // Whoever empties it to write another number is let, though what has it may hold a number meanwhile.
  const [isEmptied, setEmptied] = useState(false);
  return (
    <Field {...{ id, label, hint, error, className }}>
      <span className="with-unit">
        <input
          type="number"
          inputMode="numeric"
          {...rest}
          {...attributes}
          value={isEmptied ? "" : (value ?? "")}
          onChange={(event) => {
            const isEmpty = event.target.value === "";
            setEmptied(isEmpty);
            onChange(isEmpty ? null : Number(event.target.value));
          }}
          onBlur={() => setEmptied(false)}
        />
        {unit && <span aria-hidden="true">{unit}</span>}
      </span>
    </Field>
  );
}

type SelectProps = FieldProps & {
  value: string;
  onChange: (value: string) => void;
  options: { value: string; name: string }[];
  required?: boolean;
};

export function SelectField({ label, hint, error, className, value, onChange, options, required }: SelectProps) {
  const { id, attributes } = useField({ label, hint, error });
  return (
    <Field {...{ id, label, hint, error, className }}>
      <select {...attributes} required={required} value={value} onChange={(event) => onChange(event.target.value)}>
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.name}
          </option>
        ))}
      </select>
    </Field>
  );
}

// Several lines, each a value of its own.
export function LinesField({
  label,
  hint,
  error,
  className,
  value,
  onChange,
  rows = 3,
  placeholder,
}: FieldProps & { value: string[]; onChange: (value: string[]) => void; rows?: number; placeholder?: string }) {
  const { id, attributes } = useField({ label, hint, error });
  const [text, setText] = useState(() => value.join("\n"));
  const lines = (raw: string) => raw.split("\n").map((line) => line.trim()).filter(Boolean);
  const shown = lines(text).join("\n") === value.join("\n") ? text : value.join("\n");
  return (
    <Field {...{ id, label, hint, error, className }}>
      <textarea
        {...attributes}
        rows={rows}
        placeholder={placeholder}
        spellCheck={false}
        value={shown}
        onChange={(event) => {
          setText(event.target.value);
          onChange(lines(event.target.value));
        }}
      />
    </Field>
  );
}

export function CheckField({
  label,
  hint,
  checked,
  onChange,
}: {
  label: string;
  hint?: ReactNode;
  checked: boolean;
  onChange: (checked: boolean) => void;
}) {
  const id = useId();
  return (
    <div className="check">
      <input
        id={id}
        type="checkbox"
        checked={checked}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onChange={(event) => onChange(event.target.checked)}
      />
      <div>
        <label htmlFor={id}>{label}</label>
        {hint && (
          <p className="hint" id={`${id}-hint`}>
            {hint}
          </p>
        )}
      </div>
    </div>
  );
}

// One of a few, all of them visible.
export function Choice<T extends string>({
  label,
  value,
  onChange,
  options,
}: {
  label: string;
  value: T;
  onChange: (value: T) => void;
  // What cannot be chosen says why in its hint.
  options: { value: T; name: string; hint?: string; isDisabled?: boolean }[];
}) {
  const name = useId();
  return (
    <fieldset className="choice">
      <legend>{label}</legend>
      {options.map((option) => (
        <label key={option.value} className={option.isDisabled ? "is-disabled" : option.value === value ? "is-chosen" : ""}>
          <input
            type="radio"
            name={name}
            value={option.value}
            checked={option.value === value}
            disabled={option.isDisabled}
            onChange={() => onChange(option.value)}
          />
          <span>
            {option.name}
            {option.hint && <small>{option.hint}</small>}
          </span>
        </label>
      ))}
    </fieldset>
  );
}

interface ChooseAndDoProps {
  // For those who do not see that it stands beside its button.
  label: string;
  // What is shown while nothing is chosen.
  prompt: string;
  action: string;
  options: { value: string; name: string }[];
  className?: string;
  isBusy: boolean;
  onDo: (value: string) => void;
}

// One of a few things to do. Choosing does nothing yet: with the keyboard, people pass by some on their way to one.
export function ChooseAndDo({ label, prompt, action, options, className, isBusy, onDo }: ChooseAndDoProps) {
  const [value, setValue] = useState("");
  return (
    <span className="actions">
      <select className={className} aria-label={label} value={value} onChange={(event) => setValue(event.target.value)}>
        <option value="">{prompt}</option>
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.name}
          </option>
        ))}
      </select>
      {value && (
        <button
          type="button"
          className={className}
          disabled={isBusy}
          onClick={() => {
            onDo(value);
            setValue("");
          }}
        >
          {action}
        </button>
      )}
    </span>
  );
}
