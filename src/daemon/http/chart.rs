//! Owns: charts.
