// A screen that cannot be drawn says so, and leaves the way to all others open.

import { Component, type ReactNode } from "react";
import { Page, Panel, Problem } from "./parts";

export class Guarded extends Component<{ children: ReactNode }, { error: Error | null }> {
  state = { error: null as Error | null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    return (
      <Page title="This screen cannot be shown">
        <Panel>
          <p>The server told something that this page does not understand. Was the server renewed while the page was open? Load it again.</p>
          <Problem error={error} retry={() => location.reload()} />
        </Panel>
      </Page>
    );
  }
}
