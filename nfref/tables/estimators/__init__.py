"""scikit-learn's estimators: FlowDensity and FlowOutlierDetector."""
