"""The refresh machine: state, inputs, the table, the loop over one target, and the sweep over all."""
