"""FlowDensity and FlowOutlierDetector, estimators of scikit-learn, and Posterior."""
