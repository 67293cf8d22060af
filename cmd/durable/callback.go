package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/durable-go/durable"
)

func newCallbackCommand(f *flags) *cobra.Command {
	c := &cobra.Command{
		Use:   "callback",
		Short: "Complete callbacks: succeed, fail, heartbeat",
		Long:  "Complete a callback that an execution waits for. It is named by the execution and by its\nname or the ID of its operation, as durable run show prints them.",
	}
	var failureType, data string
	succeed := &cobra.Command{
		Use: "succeed ID CALLBACK [PAYLOAD]", Short: "The callback succeeds with a payload: JSON, @FILE or @-; default null",
		Example: `  durable callback succeed order-42 approval '{"approved": true}'`,
		Args:    args("ID", "CALLBACK", "[PAYLOAD]"), ValidArgsFunction: f.completeCallback,
		RunE: f.with(func(c *cobra.Command, api *client, given []string) error {
			payload := json.RawMessage("null")
			if len(given) == 3 {
				var err error
				if payload, err = jsonArgument(c, given[2]); err != nil {
					return err
				}
			}
			return api.post(c.Context(), executionPath(given[0], "callbacks", given[1], "succeed"), payload, nil)
		}),
	}
	fail := &cobra.Command{
		Use: "fail ID CALLBACK [MESSAGE]", Short: "The callback fails",
		Example: `  durable callback fail order-42 approval 'too expensive' --type Rejected`,
		Args:    args("ID", "CALLBACK", "[MESSAGE]"), ValidArgsFunction: f.completeCallback,
		RunE: f.with(func(c *cobra.Command, api *client, given []string) error {
			failure := durable.Failure{Type: failureType}
			if len(given) == 3 {
				failure.Message = given[2]
			}
			if data != "" {
				var err error
				if failure.Data, err = jsonArgument(c, data); err != nil {
					return err
				}
			}
			in := map[string]any{"message": failure.Message}
			if failure.Type != "" {
				in["type"] = failure.Type
			}
			if failure.Data != nil {
				in["data"] = failure.Data
			}
			return api.post(c.Context(), executionPath(given[0], "callbacks", given[1], "fail"), in, nil)
		}),
	}
	fail.Flags().StringVar(&failureType, "type", "", "type of the failure (default \"CallbackFailed\")")
	fail.Flags().StringVar(&data, "data", "", "more about it: JSON, or @FILE")
	heartbeat := &cobra.Command{
		Use: "heartbeat ID CALLBACK", Short: "Whoever works on it is still there: restart its heartbeat timeout",
		Args: args("ID", "CALLBACK"), ValidArgsFunction: f.completeCallback,
		RunE: f.with(func(c *cobra.Command, api *client, given []string) error {
			return api.post(c.Context(), executionPath(given[0], "callbacks", given[1], "heartbeat"), nil, nil)
		}),
	}
	c.AddCommand(succeed, fail, heartbeat)
	return c
}
