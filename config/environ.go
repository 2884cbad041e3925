package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

type environment map[string]string

func environ(list []string) environment {
	env := make(environment, len(list))
	for _, e := range list {
		if k, v, ok := strings.Cut(e, "="); ok {
			env[k] = v
		}
	}
	return env
}

func (e environment) or(name, fallback string) string {
	if v := e[name]; v != "" {
		return v
	}
	return fallback
}

// int is the fallback where the variable is absent.
func (e environment) int(name string, fallback int) (int, error) {
	v := e[name]
	if v == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return fallback, fmt.Errorf("%s=%q is not a whole number", name, v)
	}
	return n, nil
}

func (e environment) float(name string, fallback float64) (float64, error) {
	v := e[name]
	if v == "" {
		return fallback, nil
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || f < 0 || f > 1 {
		return fallback, fmt.Errorf("%s=%q is not a number from 0 to 1", name, v)
	}
	return f, nil
}

func (e environment) duration(name string, fallback time.Duration) (time.Duration, error) {
	v := e[name]
	if v == "" {
		return fallback, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return fallback, fmt.Errorf("%s=%q is not a positive duration such as 24h", name, v)
	}
	return d, nil
}
