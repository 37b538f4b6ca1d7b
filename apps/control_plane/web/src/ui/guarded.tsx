// A screen that cannot be drawn says so, and leaves the way to all others open.

import { Component, type ReactNode } from "react";
import { Page, Panel } from "./parts";

export class Guarded extends Component<{ children: ReactNode }, { isBroken: boolean }> {
  state = { isBroken: false };

  // What went wrong is for those who wrote the screen: React writes it to the console.
  static getDerivedStateFromError() {
    return { isBroken: true };
  }

  render() {
    if (!this.state.isBroken) return this.props.children;
    return (
      <Page title="This screen cannot be shown">
        <Panel>
          <p>The server told something that this page does not understand. Was the server renewed while the page was open?</p>
          <p className="actions below">
            <button type="button" className="primary" onClick={() => location.reload()}>
              Load it again
            </button>
          </p>
        </Panel>
      </Page>
    );
  }
}
