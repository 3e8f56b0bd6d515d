"""Figures of the product as ratios: plain scripts for `make bench`, collected by no test run."""
