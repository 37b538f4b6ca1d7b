// How screens read from the API and change things: what is read is kept, and read again when something changed.

import { keepPreviousData, QueryClient, useMutation, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { all, ApiError, call } from "./api";
import { say } from "./ui/toasts";

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // That the browser is offline is found out by asking, and then said: nothing waits in silence.
      networkMode: "always",
      staleTime: 10_000,
      refetchInterval: 60_000,
      retry: (times, error) => times < 3 && (!(error instanceof ApiError) || error.status === 0 || error.status >= 500),
    },
    mutations: { networkMode: "always" },
  },
});

interface Reading {
  enabled?: boolean;
  every?: number;
  // Whether what was shown stays until what is asked for instead is there.
  keepsShown?: boolean;
  // So many items of a list are read.
  most?: number;
}

export const useGet = <T>(path: string, { enabled, every }: Reading = {}) =>
  useQuery({
    queryKey: [path],
    queryFn: ({ signal }) => call<T>("GET", path, undefined, signal),
    enabled,
    ...(every && { refetchInterval: every }),
  });

export const useList = <T>(path: string, { enabled, every, keepsShown, most }: Reading = {}) =>
  useQuery({
    queryKey: [path, "all"],
    queryFn: ({ signal }) => all<T>(path, signal, most),
    enabled,
    ...(keepsShown && { placeholderData: keepPreviousData }),
    ...(every && { refetchInterval: every }),
  });

// A text to ask for, as it is when nobody has typed for a moment.
export function useSettled(text: string): string {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), 300);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}

// Reads again what begins with one of the paths.
export const refresh = (...paths: string[]) =>
  queries.invalidateQueries({ predicate: ({ queryKey: [path] }) => paths.some((p) => String(path).startsWith(p)) });

// Something that a button does: what it says when it is done, and what is to be read again.
export function useAct<Input, Output>(
  act: (input: Input) => Promise<Output>,
  { done, again = [] }: { done?: string | ((output: Output) => string); again?: string[] } = {},
) {
  return useMutation({
    mutationFn: act,
    onSuccess: (output) => {
      if (done) say("good", typeof done === "string" ? done : done(output));
      void refresh(...again);
    },
    onError: (error) => say("bad", error.message),
  });
}
