"""What every part agrees on: tables, reasons, configuration, stages, filters, storage, Spark."""
