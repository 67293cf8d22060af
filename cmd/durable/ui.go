package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/durable-go/durable/durableui"
)

func newUICommand(f *flags) *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "ui",
		Short: "Serve the console for a file, a database or a program",
		Long: `Serve the console for a file, a database or a running program, on localhost, until Ctrl-C.

Whoever can connect to the address may do everything: it must be one of this machine.
Serve the console from your program (durableui) to give it to others.`,
		Args: args(),
		RunE: f.with(func(c *cobra.Command, api *client, _ []string) error { return f.serveUI(c, api, listen) }),
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8123", "loopback address to listen on; port 0 is any that is free")
	return c
}

func (f *flags) serveUI(c *cobra.Command, api *client, listen string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return usageError("--listen: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usageError("--listen %s is not an address of this machine alone: use 127.0.0.1", listen)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: localOnly(durableui.Handler(api.proxy())), ReadHeaderTimeout: 10 * time.Second, ErrorLog: errorLog()}
	fmt.Fprintf(c.OutOrStdout(), "The console of %s is at http://%s/  (Ctrl-C ends it)\n", api.about, l.Addr())
	stop := context.AfterFunc(c.Context(), func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// proxy passes the console's requests on, with this client's credentials.
func (c *client) proxy() http.Handler {
	target, _ := url.Parse(c.base)
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = target.Host
			r.Out.Header.Del("Origin") // localOnly has looked at it
			r.Out.Header.Del("Sec-Fetch-Site")
			r.Out.Header.Del("Authorization")
			if c.user != nil {
				password, _ := c.user.Password()
				r.Out.SetBasicAuth(c.user.Username(), password)
			} else if c.token != "" {
				r.Out.Header.Set("Authorization", "Bearer "+c.token)
			}
		},
		Transport:     c.http.Transport,
		ErrorLog:      errorLog(),
		FlushInterval: -1,
	}
}

// errorLog is where servers say what went wrong, some of it in words of others.
func errorLog() *log.Logger { return log.New(newGuard(os.Stderr), "durable: ", 0) }

// localOnly keeps pages of other sites out: those that are named by a name of their
// own that leads here, and those that send requests from elsewhere.
func localOnly(h http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "this console is addressed as localhost or 127.0.0.1", http.StatusForbidden)
			return
		}
		cross.Handler(h).ServeHTTP(w, r)
	})
}
