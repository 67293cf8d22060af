package durablehttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

// jsonBody reads the body of a request, which is JSON if it says what it is. A
// body without a value is nil.
func (h *callbacks) jsonBody(w http.ResponseWriter, r *http.Request) (json.RawMessage, error) {
	if !isJSON(r.Header) {
		return nil, problem{http.StatusUnsupportedMediaType, "unsupported_media_type", "send application/json in UTF-8, uncompressed"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); err != nil && !tooLarge {
		return nil, problem{http.StatusBadRequest, "bad_request", "the body could not be read to its end"}
	} else if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	return body, nil
}

// isJSON reports whether the headers let the body be JSON in UTF-8.
func isJSON(h http.Header) bool {
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return false
	}
	contentType := h.Get("Content-Type")
	if contentType == "" {
		return true
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return false
	}
	return media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
}
